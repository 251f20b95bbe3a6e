//! What a runtime is built with.

use std::time::Duration;

use vertebra::{Runtime, RuntimeBuilder};

/// The bounds have defaults that hold for most: one loop for each core, a look at each of them every second, two seconds
/// for an event loop and sixty for a worker. Each is refused outside its range, by name and with what is allowed.
#[test]
fn v156_the_bounds_of_a_runtime_have_defaults_and_are_refused_outside_their_range() {
    let defaults = format!("{:?}", Runtime::builder());
    let cores = std::thread::available_parallelism().unwrap();
    for known in [
        format!("event_loops: {cores}"),
        "request_timeout: 30s".to_owned(),
        "mailbox: 1024".to_owned(),
        "blocked_check_interval: 1s".to_owned(),
        "event_loop_time_max: 2s".to_owned(),
        "worker_time_max: 60s".to_owned(),
    ] {
        assert!(defaults.contains(&known), "{known} in {defaults}");
    }
    let none = Duration::ZERO;
    type Set = fn(RuntimeBuilder, Duration) -> RuntimeBuilder;
    let times: [(&str, Set); 4] = [
        ("request_timeout", RuntimeBuilder::request_timeout),
        ("blocked_check_interval", RuntimeBuilder::blocked_check_interval),
        ("event_loop_time_max", RuntimeBuilder::event_loop_time_max),
        ("worker_time_max", RuntimeBuilder::worker_time_max),
    ];
    for (key, set) in times {
        let refused = set(Runtime::builder(), none).build().unwrap_err();
        assert_eq!(refused.to_string(), format!("{key} is 0ns, it must be at least 1 ms"));
    }
    for (refused, why) in [
        (Runtime::builder().event_loops(0), "event_loops is 0, it must be 1 to 1024"),
        (Runtime::builder().event_loops(1_025), "event_loops is 1025, it must be 1 to 1024"),
        (Runtime::builder().mailbox(0), "mailbox is 0, it must be 1 to 1048576 messages"),
    ] {
        assert_eq!(refused.build().unwrap_err().to_string(), why);
    }
}
