//! The tables "What is promised" (of outputs) and "What happens to my lines when ..." of README: every row is held by tests, which are named here.

use std::fs;
use std::path::Path;

/// How a row begins, and the tests that fail when it is not true.
const ROWS: &[(&str, &[&str])] = &[
    (
        "Kafka is away",
        &["nothing_is_lost_while_kafka_is_dead_or_silent_for_twenty_seconds_and_memory_is_bounded"],
    ),
    (
        "a partition has no leader",
        &[
            "a_partition_without_a_leader_is_passed_over",
            "without_any_leader_records_wait_in_some_lane",
            "lines_with_a_key_wait_for_their_own_partition_while_others_flow",
        ],
    ),
    (
        "the topic does not exist",
        &[
            "faults_of_the_topic_wait_and_lose_nothing",
            "a_denied_topic_holds_up_its_own_input_alone_until_it_is_allowed",
        ],
    ),
    (
        "brokers die one after the other",
        &["two_hundred_thousand_lines_arrive_in_order_while_their_leaders_are_killed"],
    ),
    (
        "fewer replicas are in sync",
        &["too_few_replicas_are_waited_for_and_that_is_said_once"],
    ),
    (
        "the topic is deleted and made again",
        &[
            "a_topic_that_is_made_again_with_other_partitions_gets_every_line_that_the_old_one_did_not",
            "lines_wait_for_a_topic_that_is_away_for_a_while_within_the_budget",
            "exactly_once_goes_on_in_a_topic_that_is_made_again",
        ],
    ),
    (
        "a login is refused",
        &[
            "credentials_that_are_refused_at_first_are_tried_until_broker_or_file_have_the_right_ones",
            "a_certificate_that_does_not_do_is_said_to_be_so_in_clear_words",
            "certificates_that_are_replaced_are_taken_without_a_restart",
        ],
    ),
    (
        "the same, with a `spool`",
        &[
            "nothing_that_was_accepted_is_missing_after_twelve_kills",
            "an_outage_of_twenty_seconds_under_load_fills_the_spool_and_no_memory",
        ],
    ),
    (
        "data name a topic that does not exist",
        &[
            "lines_for_a_topic_that_data_name_wait_for_it_while_others_flow",
            "lines_for_a_topic_that_stays_away_are_set_aside_after_the_time_that_was_given",
            "exactly_once_sets_lines_for_a_missing_topic_aside_once",
            "while_nobody_answers_no_topic_is_missing",
        ],
    ),
    (
        "a record is too large",
        &[
            "a_record_that_kafka_refuses_is_set_aside_and_holds_up_no_other",
            "a_refused_record_is_set_aside_and_what_was_queued_behind_it_arrives_in_order",
            "a_record_that_the_broker_names_is_set_aside_and_its_neighbours_of_the_same_batch_arrive",
        ],
    ),
    (
        "a record names a partition",
        &[
            "every_partitioner_of_the_daemon_puts_a_record_where_it_belongs",
            "a_record_that_names_no_partition_is_set_aside_once_in_transactions_too",
        ],
    ),
    (
        "partitions are added to the topic",
        &["partitions_that_are_added_to_a_running_topic_are_used_and_nothing_is_lost"],
    ),
    (
        "a field that a template names is missing",
        &["lines_go_where_their_fields_say_with_everything_that_is_made_of_them"],
    ),
    (
        "a line makes a topic that cannot be one",
        &[
            "lines_go_where_their_fields_say_with_everything_that_is_made_of_them",
            "standard_input_is_routed_by_its_lines_too",
        ],
    ),
    (
        "a record is larger than `max_record`",
        &["exactly_once_holds_for_lines_of_many_topics_and_for_records_that_are_refused"],
    ),
    (
        "the dead letters are full",
        &[
            "full_dead_letters_pause_that_input_alone_until_there_is_room",
            "full_dead_letters_pause_an_input_that_is_delivered_exactly_once",
        ],
    ),
    (
        "the file is renamed and a new one created",
        &[
            "nothing_is_missing_when_the_log_is_renamed",
            "nothing_is_missing_when_the_rotated_logs_carry_the_time",
            "a_renamed_file_is_followed_to_its_end_and_the_new_one_from_its_beginning",
            "generations_that_were_never_seen_under_their_first_name_are_read",
            "what_rotates_while_nobody_takes_batches_is_held_and_read_later",
            "a_file_renamed_while_nobody_looked_is_finished_first",
        ],
    ),
    (
        "the file is copied and cut",
        &[
            "nothing_is_missing_when_the_log_is_copied_and_cut_while_nobody_writes",
            "only_what_was_written_between_copy_and_cut_is_missing_when_the_log_is_copied_and_cut",
            "the_copy_of_a_copytruncate_is_not_sent_again",
            "what_was_not_read_before_the_cut_is_read_from_the_copy",
            "lines_written_between_the_copy_and_the_cut_are_sent_once_if_they_were_read",
            "copies_made_while_nobody_looked_are_continued_and_those_between_are_read",
        ],
    ),
    (
        "a copy is still being made",
        &["a_copy_that_is_being_made_waits_for_the_cut"],
    ),
    (
        "a rotated file was compressed",
        &[
            "nothing_is_missing_when_the_renamed_log_is_compressed_at_once",
            "nothing_is_missing_when_the_application_writes_on_into_a_log_that_was_compressed",
            "nothing_is_missing_when_the_renamed_log_is_compressed_at_the_next_rotation",
            "a_file_that_was_compressed_while_nobody_looked_is_continued_at_the_same_line",
            "what_was_read_is_not_sent_again_when_it_is_compressed",
            "generations_that_were_compressed_unseen_are_read_and_older_ones_are_not",
            "every_packing_is_read",
        ],
    ),
    (
        "compressed files match a pattern",
        &["compressed_files_that_were_never_seen_are_read_once_with_all_their_members"],
    ),
    (
        "a compressed file is incomplete",
        &[
            "a_file_that_is_still_being_compressed_is_read_as_it_grows",
            "damage_ends_a_compressed_file_and_is_counted",
        ],
    ),
    (
        "the file is cut, or rewritten in place",
        &[
            "a_cut_file_is_read_again_from_its_beginning_and_what_was_unread_is_counted",
            "a_file_rewritten_in_place_is_noticed_at_any_length",
            "a_file_rewritten_while_nobody_looked_is_read_from_its_beginning",
            "every_cut_of_an_outage_is_noticed_and_counted",
        ],
    ),
    (
        "the file is deleted and made again",
        &[
            "an_inode_used_again_is_a_new_file",
            "an_inode_used_again_is_another_file",
        ],
    ),
    (
        "two files begin with the same lines",
        &[
            "an_equal_beginning_does_not_make_a_file_a_copy",
            "equal_files_of_the_very_first_start_are_all_read",
        ],
    ),
    (
        "a symbolic link is pointed",
        &["a_link_that_is_pointed_elsewhere_leads_to_the_next_file"],
    ),
    (
        "a device's number changes",
        &[
            "a_file_is_known_again_under_any_name_and_device_number",
            "another_device_needs_the_same_path_and_content",
        ],
    ),
    (
        "a file was truncated and its writer",
        &[
            "a_writer_that_goes_on_behind_a_truncation_leaves_no_record_of_nuls",
            "a_hole_of_terabytes_is_skipped_at_once",
        ],
    ),
    (
        "a file is preallocated",
        &["a_preallocated_file_is_read_as_it_is_written"],
    ),
    (
        "the last line has no line feed yet",
        &[
            "without_a_timeout_a_half_line_waits",
            "a_line_that_is_not_ended_in_time_is_sent_and_goes_on_as_another",
        ],
    ),
    (
        "a line is empty",
        &["lines_arrive_as_they_are_appended_and_half_ones_when_they_end"],
    ),
    (
        "a line is longer than",
        &[
            "a_long_line_meets_its_policy_and_one_of_exactly_the_size_does_not",
            "a_truncated_line_keeps_its_beginning_and_the_rest_is_counted",
            "an_endless_line_takes_no_more_memory_than_a_long_one",
        ],
    ),
    (
        "a stack trace has many lines",
        &["an_open_group_survives_rotation_and_restart"],
    ),
    (
        "lines end with NUL or a text",
        &[
            "lines_end_with_nul_or_with_a_text",
            "other_encodings_arrive_as_utf_8_and_positions_are_those_of_the_file",
            "a_byte_order_mark_that_says_the_other_order_is_believed_in_its_file_also_after_a_restart",
        ],
    ),
    (
        "a syslog message is of no known form",
        &[
            "what_cannot_be_read_or_is_not_utf_8_is_kept_whole",
            "what_cannot_be_is_an_error_and_not_another_date",
        ],
    ),
    (
        "syslog comes faster",
        &[
            "without_memory_senders_of_streams_are_slowed_and_nothing_is_lost",
            "what_the_kernel_dropped_is_counted",
            "an_outage_of_twenty_seconds_under_load_slows_tcp_senders_and_loses_nothing",
        ],
    ),
    (
        "a syslog sender is wrong",
        &[
            "wrong_connections_are_closed_said_once_and_counted_and_the_others_go_on",
            "openssl_sends_with_a_certificate_and_is_turned_away_without_one",
            "what_speaks_tls_to_a_plain_port_is_closed_and_the_others_go_on",
        ],
    ),
    (
        "a thousand syslog senders connect at once",
        &["a_thousand_senders_that_come_at_once_find_room"],
    ),
    (
        "a thousand syslog senders are in the middle",
        &[
            "a_thousand_slow_senders_of_long_frames_take_little_memory",
            "connections_beyond_the_limit_are_closed_and_quiet_ones_after_their_time",
        ],
    ),
    (
        "the daemon stops while syslog senders",
        &[
            "a_stop_delivers_what_connected_senders_have_sent",
            "after_a_stop_what_waits_is_read_and_a_thousand_idle_connections_do_not_matter",
        ],
    ),
    (
        "a `filter` sorts a line out",
        &["filtered_lines_are_counted_and_the_position_passes_them"],
    ),
    (
        "the disk under `data_dir` is full",
        &[
            "a_full_disk_under_the_positions_stops_no_line_and_is_over_when_there_is_room",
            "a_disk_that_is_full_at_the_stop_ends_it_with_70_and_the_word_that_lines_are_repeated",
            "a_read_only_disk_is_named_with_77_nothing_is_sent_and_it_goes_on_when_it_can_be_written",
        ],
    ),
    (
        "the disk under an output is full",
        &["a_full_disk_pauses_the_output_and_it_goes_on_by_itself"],
    ),
    (
        "the daemon is killed while it finishes a file",
        &[
            "a_crash_at_any_operation_of_a_rotation_leaves_every_record_once_and_no_file_is_overwritten",
            "each_record_stands_once_in_files_that_are_finished_while_the_daemon_is_killed",
        ],
    ),
    (
        "the daemon is killed while it writes a compressed file",
        &["compressed_files_are_readable_up_to_the_last_sync_after_each_kill"],
    ),
    (
        "an output's file is moved, removed or truncated",
        &[
            "a_file_that_is_moved_away_gets_nothing_more_and_everything_stands_once",
            "a_file_that_is_moved_before_sigusr2_is_whole_and_the_next_begins_where_it_ends",
        ],
    ),
    (
        "data_dir's positions are damaged",
        &[
            "positions_that_a_power_cut_made_empty_or_zeros_stop_the_start_and_nothing_is_sent_again",
        ],
    ),
    (
        "an input is pointed at another cluster",
        &[
            "an_input_pointed_at_another_cluster_stops_with_a_message_and_sends_nothing",
            "an_input_begins_anew_on_another_cluster_as_the_daemon_says",
        ],
    ),
    (
        "Kafka does not answer whether a commit took place",
        &["a_commit_whose_answer_is_lost_is_found_out_and_nothing_comes_twice"],
    ),
    (
        "two daemons have the same `id`",
        &["of_two_daemons_with_the_same_id_one_stops_with_79_and_nothing_comes_twice"],
    ),
    (
        "an output's member is killed",
        &[
            "members_that_are_killed_paused_and_stopped_by_chance_hold_each_record_once",
            "members_that_are_killed_paused_and_stopped_by_chance_hold_each_record_at_least_once",
            "a_member_that_slept_through_its_session_cuts_what_it_wrote",
            "the_same_where_the_brokers_balance_the_group",
        ],
    ),
    (
        "a partition that an output names in `partitions`",
        &[
            "what_is_not_there_is_told_once_and_begins_when_it_is_there_also_when_it_was_made_again",
            "what_has_no_leader_does_not_hold_up_the_others",
        ],
    ),
    (
        "somebody balances in the group of an output",
        &[
            "while_the_group_has_members_its_offsets_are_refused_and_the_output_waits",
            "the_same_while_brokers_balance_the_group",
            "nothing_is_read_while_the_group_refuses_the_offsets_and_all_of_it_afterwards",
        ],
    ),
    (
        "data_dir is lost",
        &["every_line_is_there_once_after_kills_and_a_lost_data_dir_under_rotation"],
    ),
    (
        "an input is renamed",
        &["a_renamed_input_keeps_its_positions"],
    ),
    (
        "a file is deleted before it was read",
        &[
            "a_deleted_file_is_read_to_its_end_and_then_forgotten",
            "a_deleted_file_beyond_the_limit_is_given_up_also_while_nobody_takes_batches",
        ],
    ),
    (
        "there are more files than may be open",
        &[
            "far_fewer_handles_than_files_lose_and_repeat_nothing",
            "files_are_not_gone_because_no_descriptor_is_left",
        ],
    ),
    (
        "a file is older than `ignore_older`",
        &["an_old_file_is_read_only_when_it_is_written_to_again_and_then_whole"],
    ),
    (
        "a file is gone when the daemon starts",
        &["a_position_whose_file_stays_away_expires_and_is_counted"],
    ),
    (
        "a folder or a file cannot be looked at",
        &[
            "what_cannot_be_looked_at_for_long_is_not_taken_for_gone_and_sent_again",
            "a_file_without_permission_is_tried_again",
        ],
    ),
    (
        "inotify has no watches",
        &[
            "past_every_limit_of_inotify_new_lines_files_and_folders_are_found_and_it_is_said_once",
            "more_writes_than_the_kernel_keeps_are_told_as_missed",
        ],
    ),
    (
        "one file has several names",
        &[
            "one_file_under_several_names_is_read_once",
            "a_file_keeps_its_position_whichever_of_its_names_goes",
        ],
    ),
    (
        "a name is not UTF-8",
        &["names_of_any_bytes_are_found_and_known_again_after_a_restart"],
    ),
];

/// What "What is promised" says of outputs: where, in which words, and the tests that fail when it is not true.
const PROMISES: &[(&str, &str, &[&str])] = &[
    (
        "Kafka → file",
        "data is `fdatasync`ed before its offset is committed",
        &["an_offset_is_committed_after_data_then_folder_then_journal_are_durable"],
    ),
    (
        "Kafka → file",
        "After SIGKILL",
        &[
            "each_record_stands_once_in_the_files_through_twelve_kills",
            "the_named_partitions_alone_are_written_each_record_once_through_six_kills",
        ],
    ),
    (
        "Kafka → file",
        "or power loss the torn tail is cut by the journal, so on one host each record stands in the files once",
        &["a_crash_at_any_operation_leaves_every_record_once_up_to_the_journal"],
    ),
    (
        "Kafka → file, `delivery: exactly_once`",
        "offsets and lengths of files are one Kafka transaction",
        &["a_crash_at_any_operation_leaves_what_is_committed_and_nothing_else"],
    ),
    (
        "Kafka → file, `delivery: exactly_once`",
        "each record stands once in the files of all members of the group, across SIGKILL",
        &["each_record_counts_once_through_kills_of_the_only_member"],
    ),
    (
        "Kafka → file, `delivery: exactly_once`",
        "members that sleep",
        &[
            "a_member_that_slept_through_its_session_cuts_what_it_wrote",
            "the_same_where_the_brokers_balance_the_group",
        ],
    ),
    (
        "Kafka → file, `delivery: exactly_once`",
        "partitions that move away and back",
        &[
            "members_that_are_killed_paused_and_stopped_by_chance_hold_each_record_once",
            "the_same_exactly_once_where_the_brokers_balance_the_group",
        ],
    ),
    (
        "Kafka → file, `delivery: exactly_once`",
        "`isolation: read_uncommitted` (refused)",
        &["every_bad_configuration_prints_what_is_expected"],
    ),
];

const TITLE: &str = "## What happens to my lines when ...";

/// The first cells of the table.
fn rows() -> Vec<String> {
    let readme = fs::read_to_string("README.md").unwrap();
    let table = &readme[readme.find(TITLE).unwrap() + TITLE.len()..];
    let table = table.split("\n## ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = cells.filter_map(|line| Some(line.split(" | ").next()?.to_owned()));
    cells.filter(|cell| cell != "...").collect()
}

fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn all_sources() -> String {
    let mut text = String::new();
    for folder in ["src", "tests"] {
        sources(Path::new(folder), &mut text);
    }
    text
}

#[test]
fn what_is_promised_of_outputs_has_its_tests_and_every_test_is_there() {
    let readme = fs::read_to_string("README.md").unwrap();
    let text = all_sources();
    for (direction, words, tests) in PROMISES {
        let row = readme
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| {direction} | ")))
            .unwrap_or_else(|| panic!("nothing is promised of: {direction}"));
        assert!(row.contains(words), "{direction}: it does not say: {words}");
        for test in *tests {
            assert!(
                text.contains(&format!("fn {test}(")),
                "{words}: no test is called {test}"
            );
        }
    }
    let promised = readme
        .lines()
        .filter(|line| line.starts_with("| Kafka → file"));
    for row in promised.filter(|line| line.split(" | ").count() == 2) {
        let known = |(direction, ..): &&(&str, &str, &[&str])| {
            row.starts_with(&format!("| {direction} | "))
        };
        assert!(
            PROMISES.iter().any(|it| known(&it)),
            "no tests are named for: {row}"
        );
    }
}

#[test]
fn every_row_of_the_table_about_lines_has_its_tests_and_every_test_is_there() {
    let rows = rows();
    assert!(rows.len() > 30, "{rows:?}");
    for row in &rows {
        let found = ROWS.iter().filter(|(begin, _)| row.starts_with(begin));
        assert_eq!(found.count(), 1, "no tests are named for: {row}");
    }
    let text = all_sources();
    for (begin, tests) in ROWS {
        assert!(
            rows.iter().any(|row| row.starts_with(begin)),
            "no row begins: {begin}"
        );
        for test in *tests {
            assert!(
                text.contains(&format!("fn {test}(")),
                "{begin}: no test is called {test}"
            );
        }
    }
}
