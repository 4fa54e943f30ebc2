//! Auto mode: each command where its rules, its toolchains and the kernel send it, and nowhere else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it leaves out"
)]

mod commands;
mod files;
mod toolchains;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use stigmer_engine::{Launcher, Reserve};
use stigmer_guard::{HostLane, Probe};

use world::World;

fn main() {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let probe = Probe::take();
    for lane in [HostLane::ReadOnly, HostLane::Workspace] {
        if let Err(refusal) = probe.level(lane) {
            println!("left out: {refusal}");
            return;
        }
    }
    let mut trials = Vec::new();
    macro_rules! tests {
        ($($module:ident::$name:ident,)+) => {$(
            let launcher_of_test = Arc::clone(&launcher);
            trials.push(Trial::test(stringify!($name), move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on($module::$name(World::new(launcher_of_test)));
                Ok::<(), Failed>(())
            }));
        )+};
    }
    tests![
        commands::each_command_runs_where_its_rule_says,
        commands::a_try_that_falls_over_runs_in_the_sandbox_under_its_id_with_its_input,
        commands::a_lane_that_cannot_be_had_is_the_sandboxes_and_says_so,
        commands::without_a_sandbox_nothing_runs_and_the_two_ways_out_are_named,
        commands::the_callers_environment_stays_outside_and_what_is_declared_gets_in,
        commands::what_auto_mode_has_not_is_refused,
        commands::rules_that_change_are_heard_and_broken_ones_run_nothing,
        commands::a_request_that_is_repeated_meets_the_same_command,
        commands::a_command_is_looked_after_wherever_it_runs,
        commands::a_directory_outside_is_no_place_to_start_in,
        files::files_are_those_on_the_host_but_for_what_is_held,
        files::a_workspace_is_opened_by_name_and_its_place_is_the_sandbox,
        toolchains::what_was_installed_in_the_sandbox_is_used_there,
        toolchains::an_environment_in_the_workspace_is_kept_apart,
        toolchains::what_a_command_in_the_sandbox_made_is_its_own,
        toolchains::the_end_of_a_command_in_the_background_is_seen,
        toolchains::what_was_written_to_the_temporary_directory_is_read_there,
        toolchains::toolchains_live_no_longer_than_their_place,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
