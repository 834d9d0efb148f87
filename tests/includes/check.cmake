# cmake -DINCLUDE=<the directory with curfew/> -P check.cmake
#
# Who may include whom. The headers stand in layers, and include what is of their own or of one above,
# never below; and each names what it uses, so that nobody depends on what another one happens to bring.
# (That each compiles on its own, ../headers tests.)
cmake_minimum_required(VERSION 3.25)

# The layers, from the top: regular expressions of paths below curfew/. The first that fits counts.
set(layers
    "^config\\.hpp$"
    "^platform/"
    "^(error|result|buffer)\\.hpp$|^(ip|local)/"
    "^core/"
    "^frame_resource\\.hpp$"  # public, and what stands below builds on it
    "^reactor/"
    "^loop/"
    "^task\\.hpp$"  # the same
    "^await/"
    "^sim/|^tls\\.hpp$"  # below all others; see `opt_in`
    "^[a-z_]+\\.hpp$")
set(platform 1)
set(opt_in 9)

# What of the standard library is to be named by who uses it: a header, and what it is known by. (What
# brings much, and has a header of ours that brings less, is named by that.)
set(standard
    atomic "std::atomic"
    bit "std::(bit_cast|countl_zero|countr_zero|rotr)"
    charconv "std::(from|to)_chars"
    compare "std::(strong|weak)_ordering"
    concepts "std::(same_as|derived_from|convertible_to|invocable)"
    coroutine "std::(coroutine_handle|suspend_always|noop_coroutine)"
    cstddef "std::(size_t|byte|ptrdiff_t|max_align_t)"
    cstdint "std::u?int(8|16|32|64|ptr|max)_t"
    cstdio "std::(printf|fprintf|snprintf)"
    cstdlib "std::(abort|getenv|qsort|malloc|realloc|strtoul)"
    cstring "std::(memcpy|memset|memmove|memcmp|strcmp|strlen)"
    exception "std::(exception_ptr|current_exception|rethrow_exception|uncaught_exceptions)"
    initializer_list "std::initializer_list"
    limits "std::numeric_limits"
    new "std::(nothrow|bad_alloc|launder)"
    optional "std::(optional|nullopt)"
    source_location "std::source_location"
    span "std::span"
    stop_token "std::stop_(token|source|callback)"
    string "std::(string|to_string)"
    string_view "std::string_view"
    system_error "std::(error_code|errc|error_category|error_condition|system_error)"
    tuple "std::(tuple|tuple_size|tuple_element|apply)"
    type_traits "std::(is_[a-z_]+_v|remove_[a-z]+_t|conditional_t|type_identity|decay_t|invoke_result_t)"
    utility "std::(exchange|forward|move|swap|pair|declval|index_sequence|in_place)"
    vector "std::vector"
    curfew/platform/std_chrono.hpp "std::chrono::"
    curfew/platform/std_memory.hpp "std::(unique_ptr|make_unique|shared_ptr|make_shared|addressof|destroy_at)")

# Types of ours by whose name they are known: those of two words, and these. (Others are words that also
# mean something else.)
set(known_by_one_word operation outcome completions suspension reactor fiber nursery cancellation)

# Includes that break the rule and are known: to be empty.
set(exceptions)

set(wrong "")

# Sets `layer`, the number of a header's layer.
function(find_layer header)
    set(number 0)
    foreach(pattern IN LISTS layers)
        if(header MATCHES "${pattern}")
            set(layer ${number} PARENT_SCOPE)
            return()
        endif()
        math(EXPR number "${number} + 1")
    endforeach()
    message(FATAL_ERROR "${header}: in no layer; see tests/includes/check.cmake")
endfunction()

# Without comments and strings; and without what CMake's lists would fall apart at.
function(read_code file)
    file(READ ${file} text)
    string(REPLACE ";" "," text "${text}")
    string(REGEX REPLACE "[][]" "|" text "${text}")
    string(REGEX REPLACE "//[^\n]*" "" text "${text}")
    string(REGEX MATCHALL "#include [^\n]*" included "${text}")
    string(REGEX REPLACE "#include [^\n]*" "" text "${text}")
    string(REGEX REPLACE "\"[^\"\n]*\"" "\"\"" text "${text}")
    set(text "${text}" PARENT_SCOPE)
    set(included "${included}" PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE headers RELATIVE ${INCLUDE}/curfew ${INCLUDE}/curfew/*.hpp)
if(NOT "curfew.hpp" IN_LIST headers)
    message(FATAL_ERROR "there are no headers in ${INCLUDE}/curfew")
endif()

# --- What each header is, includes, and defines ---
foreach(header IN LISTS headers)
    read_code(${INCLUDE}/curfew/${header})
    set(text_of_${header} "${text}")
    set(names "")
    set(files "")
    foreach(line IN LISTS included)
        if(line MATCHES "#include \"([^\"]+)\"")
            cmake_path(GET header PARENT_PATH directory)
            cmake_path(SET path NORMALIZE "./${directory}/${CMAKE_MATCH_1}")
            list(APPEND names "curfew/${path}")
            list(APPEND files "${path}")
        elseif(line MATCHES "#include <([^>]+)>")
            list(APPEND names "${CMAKE_MATCH_1}")
        endif()
    endforeach()
    set(named_by_${header} "${names}")
    set(files_of_${header} "${files}")

    # Types at the level of a namespace: they begin a line.
    string(REGEX MATCHALL "\n(class|struct|enum class|concept) [^\n,(]*[{:]" definitions "\n${text}")
    foreach(definition IN LISTS definitions)
        string(REGEX REPLACE "^\n(class|struct|enum class|concept) +(CURFEW_[A-Z]+ +)?(\\|\\|.*\\|\\| +)?" "" type "${definition}")
        string(REGEX MATCH "^[a-z_0-9]+" type "${type}")
        list(APPEND types ${type})
        list(APPEND defined_in_${type} ${header})
    endforeach()
endforeach()
list(REMOVE_DUPLICATES types)

# --- The layers ---
foreach(header IN LISTS headers)
    find_layer(${header})
    set(own ${layer})
    foreach(file IN LISTS files_of_${header})
        if(NOT file IN_LIST headers)
            list(APPEND wrong "${header} includes ${file}, which is not there")
            continue()
        endif()
        find_layer(${file})
        if((layer GREATER own OR (layer EQUAL opt_in AND NOT own EQUAL opt_in))
                AND NOT "${header} > ${file}" IN_LIST exceptions
                AND NOT (own EQUAL opt_in AND NOT layer EQUAL opt_in))
            list(APPEND wrong "${header} includes ${file}, which stands below it")
        endif()
    endforeach()
endforeach()

# --- What they use ---
foreach(header IN LISTS headers)
    if(header MATCHES "^(curfew|src)\\.hpp$|^platform/std_")
        continue()
    endif()
    set(text "${text_of_${header}}")
    set(named "${named_by_${header}}")
    set(rest "${standard}")
    while(rest)
        list(POP_FRONT rest needed known_by)
        if(NOT needed IN_LIST named AND text MATCHES "[^A-Za-z0-9_](${known_by})[^A-Za-z0-9_]"
                AND NOT "${needed}" STREQUAL "curfew/${header}")
            list(APPEND wrong "${header} uses ${CMAKE_MATCH_1} and does not include ${needed}")
        endif()
    endwhile()

    # Types of ours (by names that are those of one definition): brought by what it names, or by
    # what that names.
    set(brought "${header}")
    foreach(file IN LISTS files_of_${header})
        list(APPEND brought ${file} ${files_of_${file}})
    endforeach()
    find_layer(${header})
    set(own ${layer})
    string(REGEX REPLACE "(\\.|->|std::)[a-z_0-9]+" "" text "${text}")
    string(REGEX MATCHALL "[a-z_][a-z_0-9]+" words "${text}")
    list(REMOVE_DUPLICATES words)
    foreach(type IN LISTS types)
        list(LENGTH defined_in_${type} definitions)
        if(NOT definitions EQUAL 1 OR NOT type IN_LIST words
                OR NOT (type MATCHES "_" OR type IN_LIST known_by_one_word)
                OR defined_in_${type} IN_LIST brought)
            continue()
        endif()
        find_layer(${defined_in_${type}})
        if(layer GREATER own OR ("platform/platform.hpp" IN_LIST brought AND layer EQUAL platform))
            continue()  # it is another one of that name; or that header brings what a platform has
        endif()
        if(NOT text MATCHES "(class|struct) ${type},")  # it is declared here
            list(APPEND wrong "${header} uses ${type} and does not include ${defined_in_${type}}")
        endif()
    endforeach()
endforeach()

list(REMOVE_DUPLICATES wrong)
foreach(each IN LISTS wrong)
    message("${each}")
endforeach()
list(LENGTH wrong count)
if(count)
    message(FATAL_ERROR "${count} includes are wrong")
endif()
