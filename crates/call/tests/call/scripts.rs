//! Conversations as text, one test each: `scripts/*.call`. `UPDATE=1 cargo test` rewrites their lower halves.

use std::path::Path;

fn check(name: &str) {
    testkit::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scripts/{name}.call")));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    a_recognizer_that_hangs_is_replaced
    callee_refuses_403
    callee_refuses_404
    callee_refuses_488
    keys_only_menu_goes_on_over_noise
    lost_words_are_asked_for_again
    noise_is_not_asked_about
    recognizer_without_a_name_is_told
    ringback_while_the_second_party_rings
    voice_that_makes_no_sound_is_told
    a_bye_is_rendered_once
    a_ringtone_ends_with_the_answer
    accept_timeout
    agent_whose_file_is_gone_hangs_up
    agent_that_cannot_hear_hangs_up
    agent_that_takes_keys_need_not_hear
    agent_without_a_voice_hangs_up
    agent_without_a_voice_is_left_to_its_client
    ambiance_that_cannot_be_played
    announcement_while_the_second_party_is_dialled
    another_may_not_take_over
    answer_never_goes
    answer_without_description_is_told
    answer_without_sound_is_told
    answer_waits_and_goes
    acknowledged_without_an_answer
    another_takes_over
    another_takes_over_only_where_allowed
    another_takes_the_second_s_place
    auto_hangup_after_speech
    auto_hangup_of_what_is_cut_off
    bad_headers_of_a_bye_are_told
    barge_in_stops_within_a_frame
    caller_goes_on_as_the_answer_begins
    caller_hangs_up_mid_reply
    cancel_before_accept
    canceled_for_another_phone
    client_leaves_while_it_rings
    cancel_while_we_answer
    clear_sound_after_encrypted
    command_not_built_is_501
    commands_before_the_late_answer
    commands_keep_their_order_when_the_sound_comes_early
    detector_as_its_option_says
    detector_that_wants_to_be_certain
    detector_webrtc
    different_play_id_replaces
    dtmf_goto
    dtmf_heard_as_tone
    dtmf_heard_once
    dtmf_sent_as_tones
    dtmf_sent_by_event
    dtmf_sent_by_info
    ducked_for_a_backchannel
    ducked_for_a_noise
    ducked_then_stopped
    early_description_that_cannot_be_read
    empty_tts_hangs_up
    encrypted_call_is_answered_encrypted
    eou_by_a_model_that_runs_here
    eou_by_an_endpoint
    eou_fails_and_silence_ends_the_turn
    goodbye_when_the_server_stops
    goodbye_that_takes_too_long
    fax_in_place_of_the_sound
    graceful_interrupt
    greeting_then_answer
    handover_fails_after_the_second_party_left
    handover_fails_and_the_caller_stays
    handover_succeeds_and_the_call_ends
    handover_with_consultation
    handover_succeeds_after_the_caller_left
    handover_fails_after_the_caller_left
    handover_is_never_told_after_the_caller_left
    handover_is_cut_off_by_hangup
    handover_is_not_waited_for_when_the_client_leaves
    refresh_tells_other_media
    hangup_while_referring
    hold_and_resume
    hold_from_before_the_conversation
    hold_by_command
    hold_by_command_crosses_the_caller_s
    hold_by_command_is_refused
    hold_by_command_of_a_socket
    hold_by_command_that_does_not_fit
    hold_by_command_then_another_takes_over
    hold_needs_no_packets
    inactivity_hangs_up
    interruption_event_positions
    keys_of_a_second_party
    keys_reach_a_second_party
    late_provider_output_is_dropped
    late_sound_is_dropped
    mute_and_unmute
    no_detector_finds_no_speech
    no_first_packet_hangs_up
    offer_without_codec_is_488
    outbound_call_answers
    outbound_call_cannot_be_dialled
    optional_encryption_answers_in_kind
    optional_encryption_answers_keys
    optional_encryption_offered_to_who_offers_nothing
    optional_encryption_refused
    optional_encryption_with_who_does_not
    optional_encryption_with_who_knows_it
    outbound_call_is_encrypted
    outbound_call_is_given_up
    outbound_call_is_redirected
    outbound_call_is_refused
    outbound_call_never_falls_back_to_clear
    outbound_call_that_rings_too_long
    outbound_call_to_a_silent_callee
    pause_ends_with_what_it_holds
    picked_up_while_it_rings
    realtime_answer_of_more_than_a_minute
    realtime_barge_in_truncates_where_it_was_heard
    realtime_breaks_before_it_has_greeted
    realtime_calls_a_tool
    realtime_changes_the_scene
    realtime_comes_back_and_remembers
    realtime_greeting_that_must_be_heard
    recognized_without_a_detector_of_ones_own
    realtime_greets_without_a_synthesizer
    realtime_hangs_up_after_its_last_words
    realtime_never_says_its_greeting
    recognizer_that_cannot_be_made
    record_by_command
    refer_bridges_and_ends_the_call
    refer_fails_and_the_caller_is_back
    refer_that_cannot_begin
    refer_recognizes_the_second_party
    refer_times_out
    refer_times_out_and_the_cancel_is_obeyed
    refer_to_a_silent_party
    early_offer_that_does_not_fit
    referred_party_never_falls_back_to_clear
    required_encryption_refuses_a_clear_offer
    second_answers_without_description
    second_party_holds_and_renegotiates
    second_picked_up_while_it_rings
    second_s_wish_ends_with_it
    music_none_of_which_is_there
    music_that_is_not_there_is_replaced
    second_sends_us_on
    second_sends_us_on_in_vain
    sent_on_and_left_alone
    sent_on_by_the_caller
    sent_on_in_vain
    sent_on_to_who_has_no_sound
    sent_on_where_the_playbook_allows
    sent_on_while_bridged
    silence_is_told_again_and_again
    sound_files_and_pause
    stopped_where_a_word_ends_estimated
    stopped_where_a_word_ends_timed
    streaming_tts_again_under_one_play_id
    streaming_tts_end_of_stream
    streaming_tts_gathered_to_sentences
    taken_over_and_given_up
    tts_base64_pieces_join
    tts_provider_failure_is_an_error_event_and_track_end
    tts_provider_that_cannot_be_made
    tts_requests_ahead_are_dropped
    tts_requests_ahead_fail_in_their_order
    tts_requests_run_ahead
    tts_same_play_id_joins
    unacknowledged_answer
    unknown_vad_type_goes_on_with_silero
    wait_input_timeout_sends_silence
}

#[test]
fn every_script_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(NAMES.contains(&name), "add {name} to the list in scripts.rs");
    }
}
