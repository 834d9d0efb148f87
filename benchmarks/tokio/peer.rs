//! What Rust's tokio does in the benchmarks, as its documentation recommends it: tasks, on a runtime
//! that has one thread. The meters are C++'s: see echo.cpp and limits.cpp.

use std::net::TcpStream as StdStream;
use std::os::raw::{c_int, c_ulong, c_void};
use std::os::unix::io::FromRawFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{spawn, yield_now, JoinHandle};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("a task");
    }
}

// --- The echo ---

/// A connection, and the message that its client sends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    client: c_int,
    server: c_int,
    message: *mut c_void,
}

// All of it stays in one thread.
unsafe impl Send for Connection {}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Setting {
    message_size: usize,
    buffer_size: usize,
    rounds_of_each: c_ulong,
    stamp: extern "C" fn(message: *mut c_void, round: c_ulong) -> *const u8,
    check: extern "C" fn(message: *mut c_void, echoed: *const u8),
    round_done: extern "C" fn(),
}

fn open(descriptor: c_int) -> TcpStream {
    let socket = unsafe { StdStream::from_raw_fd(descriptor) };
    socket.set_nonblocking(true).expect("a socket");
    TcpStream::from_std(socket).expect("a socket")
}

async fn read<const LIMITED: bool>(from: &mut TcpStream, into: &mut [u8]) -> usize {
    let count = if LIMITED {
        timeout(LIMIT, from.read(into)).await.expect("in time")
    } else {
        from.read(into).await
    };
    count.expect("read")
}

async fn serve<const LIMITED: bool>(connection: Connection, setting: Setting) {
    let mut peer = open(connection.server);
    let mut buffer = vec![0; setting.buffer_size];
    loop {
        let count = read::<LIMITED>(&mut peer, &mut buffer).await;
        if count == 0 {
            return;
        }
        peer.write_all(&buffer[..count]).await.expect("write");
    }
}

async fn talk<const LIMITED: bool>(connection: Connection, setting: Setting) {
    let mut socket = open(connection.client);
    let mut buffer = vec![0; setting.buffer_size];
    for round in 0..setting.rounds_of_each {
        let message = unsafe {
            let bytes = (setting.stamp)(connection.message, round);
            std::slice::from_raw_parts(bytes, setting.message_size)
        };
        socket.write_all(message).await.expect("write");
        let mut received = 0;
        while received < setting.message_size {
            received += read::<LIMITED>(&mut socket, &mut buffer[received..]).await;
        }
        (setting.check)(connection.message, buffer.as_ptr());
        (setting.round_done)();
    }
}

fn echo<const LIMITED: bool>(connections: &[Connection], setting: Setting) {
    runtime().block_on(async {
        let mut tasks = Vec::new();
        for each in connections {
            tasks.push(spawn(serve::<LIMITED>(*each, setting)));
            tasks.push(spawn(talk::<LIMITED>(*each, setting)));
        }
        all(tasks).await;
    });
}

/// # Safety
/// There are `count` connections.
#[no_mangle]
pub unsafe extern "C" fn tokio_echo(
    connections: *const Connection,
    count: usize,
    setting: Setting,
    limited: bool,
) {
    let connections = std::slice::from_raw_parts(connections, count);
    if limited {
        echo::<true>(connections, setting);
    } else {
        echo::<false>(connections, setting);
    }
}

// --- Limits ---

/// A runtime in which other limits are armed.
#[no_mangle]
pub extern "C" fn tokio_limits(
    others: usize,
    milliseconds: extern "C" fn(usize) -> u64,
) -> *mut c_void {
    let runtime = runtime();
    runtime.block_on(async {
        for index in 0..others {
            spawn(sleep(Duration::from_millis(milliseconds(index))));
        }
        yield_now().await; // they begin
        sleep(Duration::from_millis(2)).await;
    });
    Box::into_raw(Box::new(runtime)).cast()
}

/// So many tasks at a time wait so often for what completes in the next turn of the loop.
///
/// # Safety
/// `runtime` is from `tokio_limits`.
#[no_mangle]
pub unsafe extern "C" fn tokio_limits_run(
    runtime: *mut c_void,
    readers: usize,
    rounds: c_ulong,
    limited: bool,
) {
    let runtime = &*runtime.cast::<Runtime>();
    runtime.block_on(async {
        let tasks = (0..readers).map(|_| {
            spawn(async move {
                for _ in 0..rounds {
                    if limited {
                        timeout(LIMIT, yield_now()).await.expect("in time");
                    } else {
                        yield_now().await;
                    }
                }
            })
        });
        all(tasks.collect()).await;
    });
}
