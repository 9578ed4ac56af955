//! Option objects. Every field is optional, so that absent means absent: an option given with one command is
//! laid [`Over`] the call's option field by field, and defaults stand where a value is used.
//!
//! Every key is read in camelCase and snake_case, and in the other spellings clients use; it is written in
//! the first spelling of the wire contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{Extra, Headers, InputTimeout, Millis, Seconds, Secret, Whole, lenient_number};

/// Laying one value over another.
pub trait Over: Sized {
    /// What `self` gives, and for the rest what `base` gives.
    #[must_use]
    fn over(self, base: &Self) -> Self;
}

macro_rules! leaf {
    ($($t:ty),*) => { $(impl Over for $t { fn over(self, _: &Self) -> Self { self } })* };
}
leaf!(
    bool,
    u16,
    u32,
    u64,
    f32,
    String,
    Secret,
    Seconds,
    Millis,
    InputTimeout,
    Rendering,
    VadType,
    AudioCodec,
    Encryption,
    RecorderFormat
);
leaf!(Vec<String>, serde_json::Value, Vec<serde_json::Value>, ExtractHeaders);

impl Over for Extra {
    fn over(mut self, base: &Self) -> Self {
        for (key, value) in base {
            self.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

impl Over for Headers {
    fn over(mut self, base: &Self) -> Self {
        for (key, value) in base {
            self.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }
}

impl<T: Over + Clone> Over for Option<T> {
    fn over(self, base: &Self) -> Self {
        match (self, base) {
            (Some(own), Some(base)) => Some(own.over(base)),
            (Some(own), None) => Some(own),
            (None, base) => base.clone(),
        }
    }
}

/// Declares an option object: all fields optional, mergeable, described.
macro_rules! option_object {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$fmeta])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>),+
        }

        impl Over for $name {
            fn over(self, base: &Self) -> Self {
                $name { $($field: self.$field.over(&base.$field)),+ }
            }
        }
    };
}

crate::value::words! {
    /// Codec of the audio on `/call`.
    AudioCodec {
        /// G.711 mu-law, 8 kHz.
        Pcmu = "pcmu",
        /// G.711 A-law, 8 kHz.
        Pcma = "pcma",
        /// G.722, 16 kHz audio at 64 kbit/s.
        G722 = "g722",
        /// s16le mono at the option's `sampleRate`.
        Pcm = "pcm",
        /// Opus; WebRTC only.
        Opus = "opus",
    }
}

crate::value::words! {
    /// Format of a recording.
    RecorderFormat {
        /// RIFF WAVE, s16le stereo.
        Wav = "wav",
        /// Raw s16le.
        Pcm = "pcm",
        /// G.711 mu-law.
        Pcmu = "pcmu",
        /// G.711 A-law.
        Pcma = "pcma",
        /// G.722.
        G722 = "g722",
        /// Opus in Ogg.
        Opus = "opus" | "ogg",
    }
}

/// Name of a voice activity detector. Any text is read, so that an unknown one is an error event and not a
/// refused call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VadType(pub String);

option_object! {
    /// What a call is to be: given with `invite` and `accept`.
    CallOption {
        /// Suppress noise in what is heard. Default false.
        denoise: bool,
        /// Take the echo of what is played out of what is heard, up to half a second late. Default false.
        #[serde(alias = "echo_cancellation")]
        echo_cancellation: bool,
        /// SDP offer of a WebRTC client.
        #[serde(alias = "sdp")]
        offer: String,
        /// URI to call.
        callee: String,
        /// Our URI; `sip:` is put before it when missing.
        caller: String,
        /// Record the call.
        recorder: RecorderOption,
        /// Voice activity detection.
        vad: VadOption,
        /// Speech recognition.
        asr: TranscriptionOption,
        /// Speech synthesis.
        tts: SynthesisOption,
        /// Hand all audio to an external program.
        #[serde(alias = "media_pass")]
        media_pass: MediaPassOption,
        /// Longest time from invite to answer, in seconds or as `"30s"`.
        #[serde(alias = "handshake_timeout")]
        handshake_timeout: Seconds,
        /// Use IPv6 candidates. Default false.
        #[serde(alias = "enable_ipv6")]
        enable_ipv6: bool,
        /// Hang up after so many seconds without audio from the peer; 0 disables. Default 50.
        #[serde(alias = "inactivity_timeout")]
        inactivity_timeout: Seconds,
        /// SIP account and headers.
        sip: SipOption,
        /// Free data of the client; becomes variables of the call.
        extra: Extra,
        /// Codec of the audio on `/call`. Default pcm.
        codec: AudioCodec,
        /// Background sound.
        ambiance: AmbianceOption,
        /// End-of-utterance detection.
        eou: EouOption,
        /// Speech-to-speech model in place of recognizer, model and synthesizer.
        realtime: RealtimeOption,
        /// Send the audio of both sides over the WebSocket. Default false.
        subscribe: bool,
        /// Tell what the line of a call of ours sounds like and who answers it.
        #[serde(alias = "ringback_detection")]
        ringback_detection: RingbackDetectionOption,
        /// Playbook to run on this call.
        playbook: String,
        /// Rate of `pcm` audio on `/call`, in Hz: 8000, 16000 (default), 24000 or 48000.
        #[serde(alias = "sample_rate", alias = "samplerate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        sample_rate: u32,
    }
}

option_object! {
    /// How a call is recorded.
    RecorderOption {
        /// File name under the recorder path; `{id}` is the call's id. Default `{id}.wav`.
        #[serde(alias = "recorder_file")]
        recorder_file: String,
        /// Hz: 8000, 16000 (default), 24000 or 48000.
        #[serde(alias = "sampleRate", alias = "sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        samplerate: u32,
        /// Milliseconds between header updates, 10 to 10000. Default 200.
        #[serde(deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        ptime: u32,
        /// Default wav.
        format: RecorderFormat,
    }
}

option_object! {
    /// Voice activity detection.
    VadOption {
        /// `silero` (default), `webrtc`, or `nop`, which finds no speech.
        #[serde(rename = "type", alias = "provider")]
        kind: VadType,
        /// Accepted for compatibility; the detector runs at the call's own rate.
        #[serde(alias = "sampleRate", alias = "sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        samplerate: u32,
        /// Milliseconds of speech before `speaking` is sent, 0 to 10000. Default 250.
        #[serde(alias = "speech_padding")]
        speech_padding: Millis,
        /// Milliseconds of silence that end a segment of speech, 0 to 10000. Default 100.
        #[serde(alias = "silence_padding")]
        silence_padding: Millis,
        /// Accepted for compatibility, without effect.
        ratio: f32,
        /// Probability from which a window is speech, 0 to 1. Default 0.5.
        #[serde(alias = "voice_threshold")]
        voice_threshold: f32,
        /// Accepted for compatibility, without effect.
        #[serde(alias = "max_buffer_duration_secs")]
        max_buffer_duration_secs: u64,
        /// Send `silence` again after every so many milliseconds without speech, up to an hour. Default, and 0: never.
        #[serde(alias = "silence_timeout")]
        silence_timeout: Millis,
        /// Accepted for compatibility, without effect.
        endpoint: String,
        /// Accepted for compatibility, without effect.
        #[serde(alias = "secret_key")]
        secret_key: Secret,
        /// Accepted for compatibility, without effect.
        #[serde(alias = "secret_id")]
        secret_id: Secret,
    }
}

option_object! {
    /// Speech recognition.
    TranscriptionOption {
        /// Name of the recognizer.
        provider: String,
        /// Language tag, `en` or `zh-CN`.
        language: String,
        /// Account of the vendor.
        #[serde(alias = "app_id")]
        app_id: String,
        /// Key id of the vendor.
        #[serde(alias = "secret_id")]
        secret_id: Secret,
        /// Key of the vendor.
        #[serde(alias = "secret_key", alias = "apiKey", alias = "api_key")]
        secret_key: Secret,
        /// Model of the vendor.
        #[serde(alias = "model_type", alias = "model")]
        model_type: String,
        /// Accepted for compatibility, without effect.
        #[serde(alias = "buffer_size")]
        buffer_size: u64,
        /// Accepted for compatibility; the recognizer says which rate it wants.
        #[serde(alias = "sampleRate", alias = "sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        samplerate: u32,
        /// Address in place of the vendor's.
        #[serde(alias = "baseUrl", alias = "base_url")]
        endpoint: String,
        /// Parameters of the vendor.
        extra: Extra,
        /// Begin with the answer and not with early media. Default false.
        #[serde(alias = "start_when_answer")]
        start_when_answer: bool,
    }
}

option_object! {
    /// Speech synthesis.
    SynthesisOption {
        /// Name of the synthesizer.
        provider: String,
        /// Voice.
        #[serde(alias = "voice")]
        speaker: String,
        /// 8000 to 48000. Accepted for compatibility; speech is made at the call's rate.
        #[serde(alias = "sampleRate", alias = "sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        samplerate: u32,
        /// 0.25 to 4; 1.0 is the voice's own speed.
        speed: f32,
        /// 0 to 10; 5 is the voice's own volume.
        #[serde(deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        volume: u32,
        /// Accepted for compatibility; speech is carried as PCM.
        codec: String,
        /// Account of the vendor.
        #[serde(alias = "app_id")]
        app_id: String,
        /// Key id of the vendor.
        #[serde(alias = "secret_id")]
        secret_id: Secret,
        /// Key of the vendor.
        #[serde(alias = "secret_key", alias = "apiKey", alias = "api_key")]
        secret_key: Secret,
        /// Ask the vendor for word times.
        subtitle: bool,
        /// Model of the vendor.
        model: String,
        /// Language tag.
        language: String,
        /// Emotion of the voice, such as `neutral` or `happy`.
        emotion: String,
        /// Address in place of the vendor's.
        #[serde(alias = "baseUrl", alias = "base_url")]
        endpoint: String,
        /// Parameters of the vendor.
        extra: Extra,
        /// Requests under way at once: 1 (default) to 1000, of which at most 8 are.
        #[serde(alias = "max_concurrent_tasks", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        max_concurrent_tasks: u32,
        /// Id given to the vendor.
        #[serde(alias = "session_id")]
        session_id: String,
        /// Used where a `tts` command has none.
        #[serde(alias = "wait_input_timeout")]
        wait_input_timeout: InputTimeout,
        /// How the sound may be kept; absent for speech that streams. The call sets it, no client can.
        #[serde(skip)]
        rendering: Rendering,
    }
}

/// Under which name the sound of a whole text may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// One made of everything that changes the sound.
    Derived,
    /// The same with the `cacheKey` that the client gave in place of the text, which may then change without a change of
    /// the sound.
    Named(String),
}

option_object! {
    /// SIP account and headers. Written in snake_case, as the original does.
    SipOption {
        /// User of the account.
        username: String,
        /// Password of the account.
        password: Secret,
        /// Realm of the account.
        realm: String,
        /// Contact URI in place of our own.
        contact: String,
        /// Headers added to INVITE.
        headers: Headers,
        /// Headers added to BYE; values may be templates in playbooks.
        #[serde(rename = "hangup_headers", alias = "hangupHeaders", alias = "bye_headers", alias = "byeHeaders")]
        #[serde(deserialize_with = "header_map")]
        hangup_headers: Headers,
        /// Headers of the INVITE that become variables.
        #[serde(rename = "extract_headers", alias = "extractHeaders")]
        extract_headers: ExtractHeaders,
        /// Encrypt media with SDES-SRTP: `true` always, `"optional"` where the peer can, `false` where it offers that.
        #[serde(rename = "enable_srtp", alias = "enableSrtp")]
        enable_srtp: Encryption,
    }
}

option_object! {
    /// An external program that takes over all audio.
    MediaPassOption {
        /// WebSocket address.
        url: String,
        /// Hz of what we receive: 8000, 16000, 24000 or 48000.
        #[serde(alias = "input_sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        input_sample_rate: u32,
        /// Hz of what we send: 8000, 16000, 24000 or 48000.
        #[serde(alias = "output_sample_rate", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        output_sample_rate: u32,
        /// Bytes of each message we send: an even number from 2 to 64000. Default 2560.
        #[serde(alias = "packet_size", deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        packet_size: u32,
        /// Milliseconds, up to 1000, of the pieces that what comes is played in; what is less before a pause is filled up
        /// with silence. 0, or absent: it is played as it comes.
        #[serde(deserialize_with = "lenient_number")]
        #[schemars(with = "Whole")]
        ptime: u32,
        /// Headers of the request that opens the connection, such as `Authorization`.
        headers: Headers,
    }
}

option_object! {
    /// How a second party is called in.
    ReferOption {
        /// Suppress noise of the referred leg. Default false.
        denoise: bool,
        /// Seconds to wait for the answer. Default 30.
        timeout: Seconds,
        /// Music while dialling.
        moh: String,
        /// Recognize the referred leg, from its answer on, in events with the server's `trackId`. What is not said here is
        /// as in the call's `asr`.
        asr: TranscriptionOption,
        /// End the call with the referred leg. Default true.
        #[serde(alias = "auto_hangup")]
        auto_hangup: bool,
        /// SIP account and headers of the referred leg.
        sip: SipOption,
        /// Call-ID of the referred leg.
        #[serde(alias = "call_id")]
        call_id: String,
        /// Stop recognizing the first leg while referred. Default false.
        #[serde(alias = "pause_parent_asr")]
        pause_parent_asr: bool,
    }
}

option_object! {
    /// End-of-utterance detection by a model.
    EouOption {
        /// Name of the detector.
        #[serde(rename = "type")]
        kind: String,
        /// Address of the model.
        endpoint: String,
        /// Key of the model.
        #[serde(alias = "secret_key", alias = "apiKey", alias = "api_key")]
        secret_key: Secret,
        /// Key id of the model.
        #[serde(alias = "secret_id")]
        secret_id: Secret,
        /// Longest wait for its verdict, in milliseconds, up to 60000.
        timeout: Millis,
        /// Parameters of the detector.
        extra: Extra,
    }
}

option_object! {
    /// A speech-to-speech model.
    RealtimeOption {
        /// `openai`, `azure` or a WebSocket address.
        provider: String,
        /// Model name.
        model: String,
        /// Key.
        #[serde(alias = "secret_key", alias = "apiKey", alias = "api_key")]
        secret_key: Secret,
        /// Key id.
        #[serde(alias = "secret_id")]
        secret_id: Secret,
        /// Address in place of the vendor's.
        #[serde(alias = "baseUrl", alias = "base_url")]
        endpoint: String,
        /// Turn detection, passed through.
        #[serde(alias = "turn_detection")]
        turn_detection: serde_json::Value,
        /// Tools, passed through.
        tools: Vec<serde_json::Value>,
        /// Voice; also read from `extra.voice`.
        voice: String,
        /// Parameters: `instructions`, `voice`.
        extra: Extra,
    }
}

option_object! {
    /// Background sound under and between utterances.
    AmbianceOption {
        /// WAV file.
        path: String,
        /// Gain while the agent speaks, 0 to 1. Default 0.1.
        #[serde(alias = "duck_level")]
        duck_level: f32,
        /// Gain otherwise, 0 to 1. Default 0.3.
        #[serde(alias = "normal_level")]
        normal_level: f32,
        /// Step of the gain per 20 ms, 0.0001 to 1. Default 0.01.
        #[serde(alias = "transition_speed")]
        transition_speed: f32,
        /// Default true.
        enabled: bool,
    }
}

option_object! {
    /// What the line of a call of ours sounds like (`ringbackState`) and who answers it (`answerMachineDetection`).
    RingbackDetectionOption {
        /// Default false.
        enabled: bool,
        /// Seconds of audio before the first verdict, 4 to 60. Default 6.
        #[serde(alias = "min_buffer_secs")]
        min_buffer_secs: f32,
        /// Seconds between verdicts, 0.1 to 60. Default 1.
        #[serde(alias = "detection_interval_secs")]
        detection_interval_secs: f32,
        /// Confidence, 0 to 1, from which a verdict counts. Default 0.7.
        #[serde(alias = "confidence_threshold")]
        confidence_threshold: f32,
        /// Report changes only. Default true.
        #[serde(alias = "on_state_change_only")]
        on_state_change_only: bool,
    }
}

mod encryption;
mod headers;
mod llm;

pub use encryption::Encryption;
use headers::header_map;
pub use headers::{ExtractHeader, ExtractHeaders};
pub use llm::{LlmOption, Rule};
