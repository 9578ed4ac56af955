//! The whole server: started, reachable at its addresses, and stopped without losing anything.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use call::setup::Vendors;
use call::{MediaThreads, Services};
use protocol::record::CallRecord;
use sip::{Admission, Bound, Driver, SipHandle};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::accounts::Accounts;
use crate::app::{self, App};
use crate::calls::Calls;
use crate::capture::Capture;
use crate::config::Config;
use crate::config::ephemeral::{Ephemeral, rtp_ports};
use crate::config::words::HandlerKind;
use crate::egress::Egress;
use crate::hourly::Cap;
use crate::http::{self, Tls};
use crate::inbound::Routes;
use crate::ladder::Ladders;
use crate::library::Sounds;
use crate::mcp::Servers;
use crate::media_names::MediaNames;
use crate::media_pass::Passes;
use crate::outbound::{LineParts, Lines};
use crate::parked::Parked;
use crate::playbooks::Folder;
use crate::policy;
use crate::ports::Ports;
use crate::sinks::archive::Archive;
use crate::sinks::recording::Recorder;
use crate::sinks::records;
use crate::sinks::reports::{self, Reports};
use crate::sip_io::{self, SipDoor};
use crate::sip_tls::Certificate;
use crate::speech_cache;
use crate::webhook::Webhook;

/// How long calls that were hung up may take to end: more than the 10 s for which the record of a call waits for
/// its recording.
const GOODBYE: Duration = Duration::from_secs(13);
/// How long what is left to write may take.
const FLUSH: Duration = Duration::from_secs(10);

/// A running server. Dropping it leaves it running; [`Server::stop`] ends it.
pub struct Server {
    app: Arc<App>,
    sip: SipHandle,
    http_addr: SocketAddr,
    sip_addr: SocketAddr,
    driver: JoinHandle<()>,
    records: JoinHandle<()>,
    reports: JoinHandle<()>,
    recorder: std::thread::JoinHandle<()>,
    stop_records: CancellationToken,
    deliveries: Vec<JoinHandle<()>>,
    stop_delivery: CancellationToken,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// HTTP cannot listen.
    #[error("HTTP cannot listen on {0}: {1}; change http_addr or --http")]
    Http(SocketAddr, io::Error),
    /// The file of the API key cannot be used.
    #[error("the API key in {0}: {1}; change auth.key_file, configure keys, or listen on loopback only")]
    Key(PathBuf, io::Error),
    /// The certificate of HTTPS cannot be used.
    #[error("HTTPS: {0}; change http_tls_cert_file and http_tls_key_file")]
    Certificate(io::Error),
    /// SIP cannot listen.
    #[error(transparent)]
    Sip(#[from] sip_io::DoorError),
    /// The settings of the system's name service cannot be read.
    #[error("the settings of the name service cannot be read: {0}")]
    Names(io::Error),
    /// The thread of recordings cannot be started.
    #[error("the thread of recordings cannot be started: {0}")]
    Recorder(io::Error),
    /// The capture of SIP cannot be written.
    #[error("the capture of SIP in {0}: {1}; change sip.capture")]
    Capture(PathBuf, io::Error),
    /// The threads that compute sound cannot be started.
    #[error("the threads that compute sound cannot be started: {0}")]
    Media(io::Error),
    /// The TLS library does not start.
    #[error("the TLS library does not start: {0}")]
    Tls(#[from] reqwest::Error),
}

impl Server {
    /// Starts a server with the real vendors.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Server, StartError> {
        Self::start_with(config, Arc::new(Vendors)).await
    }

    /// Starts a server with the given vendors, inside a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(
        config: Config,
        providers: Arc<dyn call::setup::Providers>,
    ) -> Result<Server, StartError> {
        let listener =
            TcpListener::bind(config.http_addr).await.map_err(|e| StartError::Http(config.http_addr, e))?;
        let http_addr = listener.local_addr().map_err(|e| StartError::Http(config.http_addr, e))?;
        let SipDoor { mut driver, handle, incoming, ladders } = sip_io::bind(&config).await?;
        let names = names(&mut driver, &handle, &config)?;
        let (recorder, recorder_thread) =
            Recorder::start(config.recording.clone()).map_err(StartError::Recorder)?;
        let (reports_in, reports_out) = mpsc::channel(reports::REPORTS);
        let (records_in, records_out) = mpsc::channel::<CallRecord>(records::RECORDS);
        let egress = Egress::new(&config.useragent, &config.egress)?;
        let playbooks = Folder::new(config.playbook_path.clone(), config.media_roots.clone());
        let parts = line_parts(&config, &names, ladders);
        let services = Services {
            media: MediaThreads::start(media_threads(&config)).map_err(StartError::Media)?,
            providers: speech_cache::around(
                providers,
                config.media_cache_path.clone(),
                config.media_cache_bytes,
            ),
            library: Arc::new(sounds(&config, &egress)),
            studio: Arc::new(recorder),
            playbooks: Arc::new(playbooks.clone()),
            fetcher: Arc::new(egress.clone()),
            passes: Arc::new(Passes::new(&egress)),
            tools: Arc::new(Servers::new(egress.clone(), config.mcp_programs.clone())),
            dialer: Arc::new(Lines::new(handle.clone(), parts.clone(), config.clone())),
            records: records_in,
            reports: reports_in,
            told: Arc::default(),
        };
        let reports = Reports::new(
            config.spool_path.clone(),
            services.fetcher.clone(),
            services.providers.clone(),
            config.posthook_secret.clone(),
        );
        let access =
            Access::from_config(&config, http_addr.ip()).map_err(|(file, e)| StartError::Key(file, e))?;
        let tls = certificate(&config).map_err(StartError::Certificate)?;
        let keepers = Doorkeepers { access, egress, parts };
        let app = Arc::new(build(config, keepers, services, playbooks));
        watch(&mut driver, &app, handle.local_addr())?;
        let stop_records = CancellationToken::new();
        let driver = spawn(driver.run());
        let records = spawn(records::run(app.records.clone(), records_out, stop_records.clone()));
        let reports = spawn(reports.run(reports_out, stop_records.clone()));
        let stop_delivery = CancellationToken::new();
        let archive = app.records.as_ref();
        let deliveries =
            archive.map(|archive| archive.deliveries(&app.config, &app.egress)).unwrap_or_default();
        let deliveries =
            deliveries.into_iter().map(|delivery| spawn(delivery.run(stop_delivery.clone()))).collect();
        if let Some(files) = Certificate::of(&app.config) {
            app.tasks.spawn(files.keep_current(handle.clone(), app.closing.clone()));
        }
        tracing::info!("{}", policy::openness(&app.config));
        for keeper in app.accounts.keepers(&handle, names.resolver(), &app.closing) {
            app.tasks.spawn(keeper);
        }
        app.tasks.spawn(sip_io::take(app.clone(), handle.clone(), incoming));
        app.tasks.spawn(http::serve(app.clone(), handle.clone(), listener, tls));
        let sip_addr = handle.local_addr();
        Ok(Server {
            app,
            sip: handle,
            http_addr,
            sip_addr,
            driver,
            records,
            reports,
            recorder: recorder_thread,
            stop_records,
            deliveries,
            stop_delivery,
        })
    }

    /// Where HTTP listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where SIP listens.
    pub fn sip_addr(&self) -> SocketAddr {
        self.sip_addr
    }

    /// Where SIP listens for connections.
    pub fn sip_streams(&self) -> Bound {
        self.sip.bound()
    }

    /// What the doors share.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Stops: refuses new calls, lets those that are up end until the deadline, says goodbye to the rest,
    /// writes what is left. Gives the number of calls that were hung up.
    pub async fn stop(self) -> usize {
        self.app.calls.drain();
        // A driver that is gone takes no calls anyway.
        let _ = self.sip.set_admission(Admission::Refusing).await;
        self.app.accounts.leave(&self.sip).await;
        let patience = if self.app.config.graceful_shutdown {
            self.app.config.shutdown_timeout.0
        } else {
            Duration::ZERO
        };
        let hung_up = end_calls(&self.app.calls, patience).await;
        self.app.closing.cancel();
        self.sip.stop().await;
        self.app.tasks.close();
        for (what, ended) in [
            ("SIP", timeout(GOODBYE, self.driver).await.is_ok()),
            ("tasks", timeout(GOODBYE, self.app.tasks.wait()).await.is_ok()),
        ] {
            if !ended {
                tracing::error!(what, "did not end in time");
            }
        }
        self.stop_records.cancel();
        if timeout(FLUSH, self.records).await.is_err() {
            tracing::error!("call records could not be written in time");
        }
        if timeout(FLUSH, self.reports).await.is_err() {
            tracing::error!("reports of calls could not be written in time");
        }
        // Every record is in the spool by now.
        self.stop_delivery.cancel();
        for delivery in self.deliveries {
            if timeout(FLUSH, delivery).await.is_err() {
                tracing::error!("records could not be delivered in time; they wait in the spool");
            }
        }
        drop(self.app);
        let recorder = tokio::task::spawn_blocking(move || self.recorder.join());
        if timeout(FLUSH, recorder).await.is_err() {
            tracing::error!("recordings could not be written in time");
        }
        hung_up
    }
}

/// Waits for calls to end, and hangs up those that do not.
async fn end_calls(calls: &Calls, patience: Duration) -> usize {
    if timeout(patience, calls.empty()).await.is_ok() {
        return 0;
    }
    let left = calls.counts().now;
    let ended = async { tokio::join!(calls.hang_up(), calls.empty()) };
    if timeout(GOODBYE, ended).await.is_err() {
        tracing::error!(calls = calls.counts().now, "calls did not end in time");
    }
    left
}

/// What finds hosts, those that dialogs of `driver` name included.
fn names(driver: &mut Driver, sip: &SipHandle, config: &Config) -> Result<Arc<MediaNames>, StartError> {
    let names = MediaNames::asking(&config.sip.dns, sip.reach()).map_err(StartError::Names)?;
    driver.find_by(names.resolver().clone());
    Ok(Arc::new(names))
}

/// What calls of ours are made of.
fn line_parts(config: &Config, names: &Arc<MediaNames>, ladders: Ladders) -> LineParts {
    LineParts {
        ports: ports(config),
        names: names.clone(),
        ladders,
        accounts: Accounts::new(config),
        cap: Cap::new(config.sip.outbound_per_hour),
    }
}

/// The ports of RTP.
fn ports(config: &Config) -> Ports {
    let bind = config.rtp_bind_ip.or(config.addr);
    let bind = bind.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)).ip());
    let (first, last) = rtp_ports(config, &Ephemeral::here());
    Ports::new(bind, first, last)
}

fn certificate(config: &Config) -> io::Result<Option<Tls>> {
    match (&config.http_tls_cert_file, &config.http_tls_key_file) {
        (Some(cert), Some(key)) => Tls::load(cert, key).map(Some),
        _ => Ok(None),
    }
}

/// Who may come in, and where calls may reach.
struct Doorkeepers {
    access: Access,
    egress: Egress,
    parts: LineParts,
}

fn build(config: Config, keepers: Doorkeepers, services: Services, playbooks: Folder) -> App {
    let routes = Routes::from_config(&config);
    for finding in playbooks.validate(&routes.playbooks(), &config) {
        if finding.refused {
            tracing::error!(finding.text, "a playbook cannot be used; calls sent to it get 503");
        } else {
            tracing::warn!(finding.text, "a playbook has something odd");
        }
    }
    let webhook = match &config.handler {
        Some(table) if table.r#type == Some(HandlerKind::Webhook) => {
            Some(Webhook::new(table, &keepers.egress, config.webhook_timeout.0))
        }
        _ => None,
    };
    let records = Archive::open(&config);
    if let Some(archive) = &records {
        let recovered = archive.recover(&app::now());
        if recovered > 0 {
            tracing::warn!(recovered, "calls were cut off by a crash; their records say aborted");
        }
    }
    App {
        access: keepers.access,
        accounts: keepers.parts.accounts,
        egress: keepers.egress,
        calls: Calls::new(config.max_calls),
        ports: keepers.parts.ports,
        cap: keepers.parts.cap,
        tasks: TaskTracker::new(),
        closing: CancellationToken::new(),
        config,
        services,
        routes,
        playbooks,
        parked: Parked::default(),
        names: keepers.parts.names,
        ladders: keepers.parts.ladders,
        webhook,
        records,
    }
}

/// Keeps the SIP messages of calls, and captures all where that is configured.
fn watch(driver: &mut Driver, app: &App, local: SocketAddr) -> Result<(), StartError> {
    let ladders = app.ladders.clone();
    let table = &app.config.sip;
    let begun = table.capture.as_ref().map(|path| {
        let begun = Capture::begin(path, table.capture_limit_mb.saturating_mul(1 << 20), local);
        begun.map_err(|error| StartError::Capture(path.clone(), error))
    });
    let capture = begun.transpose()?;
    driver.tap(move |passage| {
        let now = app::now_ms();
        ladders.pass(now, passage);
        if let Some(capture) = &capture {
            capture.pass(now, passage);
        }
    });
    Ok(())
}

/// The sound files of clients and playbooks, without what this server writes itself.
fn sounds(config: &Config, egress: &Egress) -> Sounds {
    let always = [&config.recording.path, &config.spool_path, &config.media_cache_path];
    let of_records = config.callrecord.iter().flat_map(|own| [&own.root, &own.spool, &own.database_spool]);
    let own = always.into_iter().chain(of_records).cloned().collect();
    Sounds::new(config.media_roots.clone(), egress.clone()).without(own)
}

fn media_threads(config: &Config) -> usize {
    match config.media_threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

#[allow(clippy::disallowed_methods, reason = "the server owns these tasks and waits for them in `stop`")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
