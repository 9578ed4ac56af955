//! What HTTP and SIP share: the configuration, the calls, and how a call is begun.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use call::legs::hosts::Names;
use call::setup::{EventLog, Rules, TransferRequests};
use call::{CallHandle, Services, Setup};
use chrono::{SecondsFormat, Utc};
use protocol::CallOption;
use protocol::rest::CallKind;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::accounts::{self, Accounts};
use crate::calls::{Calls, NoPlace, Place};
use crate::config::Config;
use crate::config::words::TransferPolicy;
use crate::egress::Egress;
use crate::hourly::Cap;
use crate::inbound::Routes;
use crate::ladder::Ladders;
use crate::parked::Parked;
use crate::playbooks::Folder;
use crate::ports::{Port, Ports};
use crate::sinks::archive::Archive;
use crate::sinks::{events, records};
use crate::webhook::Webhook;

/// The server as its doors see it. Shared by reference count.
pub struct App {
    /// The configuration, flags applied.
    pub config: Config,
    /// Who may use HTTP.
    pub access: Access,
    /// Accounts at registrars.
    pub accounts: Accounts,
    /// What may be reached on behalf of clients.
    pub egress: Egress,
    /// Every call.
    pub calls: Calls,
    /// What calls need of the world.
    pub services: Services,
    /// Where inbound calls go.
    pub routes: Routes,
    /// Playbooks.
    pub playbooks: Folder,
    /// Playbooks that wait for their call.
    pub parked: Parked,
    /// Told of inbound calls, when a webhook handles them.
    pub webhook: Option<Webhook>,
    /// SIP messages of calls.
    pub ladders: Ladders,
    /// RTP ports.
    pub ports: Ports,
    /// How many legs of ours may begin.
    pub cap: Cap,
    /// Finds hosts that descriptions name.
    pub names: Arc<dyn Names>,
    /// Where records go; absent: nowhere.
    pub records: Option<Archive>,
    /// Owner of every task of the server.
    pub tasks: TaskTracker,
    /// Ends the doors: HTTP, SIP, timers.
    pub closing: CancellationToken,
}

/// How a call begins, beyond its [`Setup`].
pub struct Beginning {
    /// What the call begins with.
    pub setup: Setup,
    /// Its place in the table.
    pub place: Place,
    /// Its RTP port, which rests when the call is over.
    pub port: Option<Port>,
    /// A client may take command of it later.
    pub unclaimed: bool,
}

/// How long after the end of a call its log takes SIP messages.
const LAST_MESSAGES: Duration = Duration::from_millis(500);

impl App {
    /// A place for a call.
    ///
    /// # Errors
    /// When the server is full or being stopped, or the id is in use.
    pub fn reserve(&self, id: &str) -> Result<Place, NoPlace> {
        self.calls.reserve(id)
    }

    #[allow(clippy::disallowed_methods, reason = "the end of a log is a matter of real time")]
    /// Begins a call; its place and port are given back when it is over.
    pub async fn begin(self: &Arc<Self>, beginning: Beginning) -> CallHandle {
        let Beginning { setup, place, port, unclaimed } = beginning;
        let local = self.records.as_ref().map(|archive| archive.local.clone());
        let beginning = Arc::new(records::beginning(&setup, now()));
        let note = match &local {
            // The note is there before the call can end, since the record of the call takes it back.
            Some(local) => local.begin(&beginning).await,
            None => None,
        };
        if setup.kind == CallKind::Sip {
            self.ladders.begin(&setup.id, setup.log.as_ref().map(|log| log.lines.clone()));
        }
        let handle = call::spawn(setup, &self.services);
        place.fill(handle.clone(), unclaimed);
        let (app, over) = (self.clone(), handle.clone());
        self.tasks.spawn(async move {
            if let (Some(local), Some(note)) = (local, note) {
                local.follow(note, beginning, &over).await;
            }
            over.over().await;
            let info = over.info();
            app.ladders.note_sound(over.id(), info.media, info.quality);
            drop(port);
            drop(place);
            // The answer to our BYE belongs to the log too.
            app.closing.run_until_cancelled(tokio::time::sleep(LAST_MESSAGES)).await;
            app.ladders.end(over.id());
        });
        handle
    }

    /// The event log of the call `id`, written by a task of its own.
    pub fn event_log(&self, id: &str) -> EventLog {
        let (log, writer) = events::open(&self.config.recording.path, id);
        self.tasks.spawn(writer.run());
        log
    }

    /// Times and switches of the configuration.
    pub fn rules(&self) -> Rules {
        Rules {
            accept_timeout: self.config.accept_timeout.0,
            ws_pcm_out_rate: self.config.ws_pcm_out_rate,
            accounts: accounts::own_addresses(&self.config),
            auto_record: self.config.recording.enabled && self.config.recording.auto_start,
            encryption: self.config.enable_srtp,
            dtmf: self.config.dtmf,
            media_timeout: self.config.rtp_timeout.0,
            first_media_timeout: self.config.rtp_first_timeout.0,
            transfer_requests: match self.config.sip.transfer_requests {
                TransferPolicy::Ask => TransferRequests::Ask,
                TransferPolicy::Accept => TransferRequests::Accept,
                TransferPolicy::Refuse => TransferRequests::Refuse,
            },
            ..Rules::default()
        }
    }

    /// Options below those of commands and playbooks.
    pub fn defaults(&self) -> CallOption {
        CallOption { ambiance: self.config.ambiance.clone(), ..CallOption::default() }
    }

    /// The folder of recordings and event logs.
    pub fn recordings(&self) -> &PathBuf {
        &self.config.recording.path
    }
}

/// The time now, RFC 3339 in UTC.
#[allow(clippy::disallowed_methods, reason = "wall time is added here, at the edge")]
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time now, milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods, reason = "wall time is added here, at the edge")]
pub fn now_ms() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or_default()
}
