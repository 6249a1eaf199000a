//! Stories, with what happened in them recorded in `snapshots/`.

use crate::story::play;

macro_rules! stories {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            let script = include_str!(concat!("stories/", stringify!($name), ".story"));
            let told = play(script);
            assert!(!told.contains("COMPLAINT"), "{told}");
            insta::assert_snapshot!(told);
        }
    )* };
}

stories! {
    first_deploy_and_back
    first_release_fails
    broken_release
    verify_of_two_services
    stop_first_with_volume
    unchanged_services
    parallelism
    rolling_stop_first
    pause
    failure_ratio
    crashes_and_resumes
    stuck
    stuck_at_a_port
    dead_instances
    errors_after_the_switch
    cancel
    hooks_and_jobs
    fast_rollback
    replace_and_repair
    down
    refusals
}
