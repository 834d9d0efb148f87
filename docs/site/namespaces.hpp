// What the site says of namespaces.

/// All of the library. What a program uses is here, and what has to do with one kind of sockets in a namespace of
/// its own.
namespace curfew {

/// Addresses and endpoints, of TCP and UDP alike.
namespace ip {}

/// Sockets between processes of one machine: connections, and datagrams.
namespace local {}

/// Pipes, files, and the standard input, as streams.
namespace pipe {}

/// A simulated network: hosts, links and what goes wrong with them, from a seed.
namespace sim {}

/// Connections, and what takes them in.
namespace tcp {}

/// Datagrams.
namespace udp {}

/// What sockets have in common; use them by the names of the sockets.
namespace detail {}

}  // namespace curfew
