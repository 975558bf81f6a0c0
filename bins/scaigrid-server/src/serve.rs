//! Serving: the edge on top of the house, until somebody says stop.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::web::{self, ServiceConfig};
use anyhow::Context as _;
use scaigrid_app::App;
use scaigrid_app::own_store::OwnStore;
use scaigrid_http::health::RenderMetrics;
use scaigrid_http::paging::CursorKey;
use scaigrid_http::routes;
use scaigrid_http::server::{Parts, Router};
use scaigrid_outbound::mail::Mailer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::clock::SystemClock;
use crate::compose;
use crate::files::{ProcessFile, Unusable};
use crate::limits;
use crate::measuring;
use crate::settings::Settings;

/// How long requests under way may take once the server is to end, in seconds.
const FAREWELL_SECONDS: u64 = 30;
/// How often Cores in a passing state are looked at.
const SEE_THROUGH_EVERY: Duration = Duration::from_millis(500);
/// How often what has expired is thrown away.
const PURGE_EVERY: Duration = Duration::from_mins(10);
/// How long the last audit records may take to be sealed once the server is to end.
const SEAL_FAREWELL: Duration = Duration::from_secs(3);
/// How often audit records and executions whose time is over are looked for.
const RETENTION_EVERY: Duration = Duration::from_hours(1);
/// How often figures that writers add to are drawn together.
const FOLD_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether tables have grown.
const PLAN_EVERY: Duration = Duration::from_secs(2);
/// The most bytes of an uploaded file on any route.
const UPLOAD_LIMIT: usize = 10 * 1024 * 1024;

/// Runs the server until SIGTERM or SIGINT.
pub(crate) async fn serve(settings: &Settings) -> anyhow::Result<()> {
    let listener = TcpListener::bind(settings.bind)
        .map_err(|error| Unusable(format!("SCAIGRID_BIND: cannot listen on {}: {error}", settings.bind)))?;
    let address = listener.local_addr()?;
    let recorded = measuring::record()?;
    let house = compose::house(settings, Arc::new(SystemClock)).await?;
    // Goes before the house does, so that it is never the file of the server that comes next.
    let _process = process_file(&settings.data_dir);
    let app = house.app.clone();
    let reading = recorded.clone();
    let render: RenderMetrics = Arc::new(move || reading.render());
    measuring::serve_alone(settings, Arc::clone(&render))?;
    let measuring = tokio::spawn(measuring::keep(app.clone(), recorded));
    let edge = Parts {
        authenticator: Arc::new(app.clone()),
        gate: Arc::new(app.clone()),
        idempotency: Arc::new(app.clone()),
        limiter: limits::limiter(settings)?,
        limits: settings.rate_limits,
        readiness: Arc::new(app.clone()),
        metrics: settings.metrics_bind.is_none().then_some(render),
        tracing: app.engine().tracing().clone(),
        clock: Arc::clone(&house.clock),
        cursor_key: CursorKey::new(&house.vault.derive("cursors")?),
        upload_limit: UPLOAD_LIMIT,
    };
    let shared = app.clone();
    let state = Arc::new(move |config: &mut ServiceConfig| {
        config.app_data(web::Data::new(shared.clone()));
    });
    let router = Router::new(edge, routes::all, state);
    let server = HttpServer::new(move || router.app())
        .workers(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
        .shutdown_timeout(FAREWELL_SECONDS)
        .disable_signals()
        // A client that has closed its side is gone: what only it wanted is ended.
        .h1_allow_half_closed(false)
        .listen(listener)
        .context("the server cannot listen")?
        .run();
    say_where(address);
    let probing = app.clone();
    let every = settings.module_probe_interval;
    let probing = tokio::spawn(async move { probing.probe_modules(every).await });
    let tracing = app.engine().tracing().clone();
    let mailing = mail(settings, &app)?;
    let retention = (settings.audit_retention, settings.execution_retention);
    let ended = run_until_told(server, app, &house.store, retention).await;
    if let Some((stop, mailing)) = mailing {
        let _ = stop.send(());
        mailing.await?;
    }
    probing.abort();
    measuring.abort();
    tracing.finish().await;
    ended
}

/// Tells which process this is. Nothing depends on it: a folder that cannot be written to is no reason not to serve.
fn process_file(folder: &Path) -> Option<ProcessFile> {
    let written = ProcessFile::write(folder);
    written.inspect_err(|error| tracing::warn!(%error, "server.pid cannot be written")).ok()
}

/// Sends mail about checkpoints, where there is a server for it, until told to stop.
fn mail(
    settings: &Settings,
    app: &App,
) -> anyhow::Result<Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>> {
    let Some((url, from)) = &settings.mail else { return Ok(None) };
    let mailer =
        Mailer::new(url.reveal(), from).map_err(|reason| Unusable(format!("SCAIGRID_SMTP_URL: {reason}")))?;
    app.engine().tell_people();
    let (stop, stopped) = oneshot::channel();
    let postman = app.clone();
    let mailing =
        tokio::spawn(async move { postman.deliver_mails(mailer, async move { drop(stopped.await) }).await });
    Ok(Some((stop, mailing)))
}

/// Tells where the server listens; with port 0 nobody else knows.
fn say_where(address: SocketAddr) {
    println!("scaigrid listens on http://{address}");
    tracing::info!(%address, "listening");
}

async fn run_until_told(
    server: actix_web::dev::Server,
    app: App,
    store: &OwnStore,
    (audit_retention, execution_retention): (Option<Duration>, Option<Duration>),
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let engine = app.engine().clone();
    let mut told = stopped.clone();
    let working = tokio::spawn(async move {
        engine.run(async move { drop(told.wait_for(|stop| *stop).await) }).await;
    });
    let postman = app.clone();
    let (stop_posting, told_to_stop) = oneshot::channel::<()>();
    let posting = tokio::spawn(async move {
        postman.deliver_webhooks(async move { drop(told_to_stop.await) }).await;
    });
    let answerer = app.clone();
    let (stop_answering, told_to_rest) = oneshot::channel::<()>();
    let answering = tokio::spawn(async move {
        answerer.keep_answering(async move { drop(told_to_rest.await) }).await;
    });
    let mut housekeeping = JoinSet::new();
    housekeeping.spawn(keep_audit(app.clone(), audit_retention));
    housekeeping.spawn(keep_executions(app.clone(), execution_retention));
    let sealer = app.clone();
    let sealing = app.clone();
    housekeeping.spawn(async move { sealing.keep_audit_sealed().await });
    housekeeping.spawn(keep_figures(app.clone()));
    housekeeping.spawn(keep_plans(app.clone()));
    housekeeping.spawn(keep_house(app));
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut refused = Ok(());
    let ended_by_itself = tokio::select! {
        outcome = &mut serving => Some(outcome),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        // Where this could have been asked at the start, there had been none.
        error = store.turns_out_to_be_another() => {
            tracing::error!(%error, "the object store is not the database's");
            refused = Err(compose::unusable_store(&error));
            None
        }
    };
    if let Some(outcome) = ended_by_itself {
        outcome??;
        anyhow::bail!("the server ended by itself");
    }
    tracing::info!("stopping: no new connections; requests under way are finished");
    // They would hold the server up until its patience is at its end.
    sealer.end_tunnels();
    handle.stop(true).await;
    housekeeping.shutdown().await;
    // While this node's lease still holds: without it, others take for dead what it is posting.
    let _ = stop_answering.send(());
    answering.await?;
    let _ = stop_posting.send(());
    posting.await?;
    // Only now: requests under way need the engine.
    let _ = stop.send(true);
    working.await?;
    seal_the_rest(&sealer).await;
    tracing::info!("stopped");
    refused
}

/// What has to be done from time to time, for as long as the process lives.
async fn keep_house(app: App) {
    let mut see_through = tokio::time::interval(SEE_THROUGH_EVERY);
    let mut purge = tokio::time::interval(PURGE_EVERY);
    loop {
        tokio::select! {
            _ = see_through.tick() => {
                if let Err(error) = app.see_cores_through().await {
                    tracing::warn!(%error, "Cores cannot be seen through");
                }
            }
            _ = purge.tick() => {
                if let Err(error) = app.purge_idempotency_keys().await {
                    tracing::warn!(%error, "expired idempotency keys cannot be removed");
                }
                if let Err(error) = app.purge_webhook_deliveries().await {
                    tracing::warn!(%error, "old deliveries to webhooks cannot be removed");
                }
                if let Err(error) = app.welcome_newcomers().await {
                    tracing::warn!(%error, "users cannot be made participants");
                }
                if let Err(error) = app.purge_room_answers().await {
                    tracing::warn!(%error, "answers that were given long ago cannot be forgotten");
                }
            }
        }
    }
}

/// Draws figures together that writers add to, for as long as the process lives.
async fn keep_figures(app: App) {
    let mut look = tokio::time::interval(FOLD_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        if let Err(error) = app.fold_figures().await {
            tracing::warn!(%error, "figures cannot be drawn together");
        }
    }
}

/// Has the database know how large its tables are, for as long as the process lives.
async fn keep_plans(app: App) {
    let mut look = tokio::time::interval(PLAN_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        match app.analyse_tables().await {
            Ok(tables) if tables.is_empty() => {}
            Ok(tables) => tracing::debug!(?tables, "tables that have grown were analysed"),
            Err(error) => tracing::warn!(%error, "tables that have grown cannot be analysed"),
        }
    }
}

/// Seals what was recorded last, as far as that is done soon; the next start does the rest.
async fn seal_the_rest(app: &App) {
    let sealing = async {
        while app.seal_audit().await? > 0 {}
        Ok::<(), scaigrid_app::Error>(())
    };
    match tokio::time::timeout(SEAL_FAREWELL, sealing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last audit records were not sealed"),
        Err(_) => tracing::warn!("not all audit records were sealed in time"),
    }
}

/// Deletes executions whose time is over for the platform or for their tenants, for as long as the process lives.
async fn keep_executions(app: App, retention: Option<Duration>) {
    let mut look = tokio::time::interval(RETENTION_EVERY);
    loop {
        look.tick().await;
        if let Err(error) = app.sweep(retention).await {
            tracing::warn!(%error, "executions whose time is over cannot be deleted");
        }
    }
}

/// Removes audit records whose time is over, if there is such a time, for as long as the process lives.
async fn keep_audit(app: App, retention: Option<Duration>) {
    let Some(retention) = retention else { return };
    let mut look = tokio::time::interval(RETENTION_EVERY);
    loop {
        look.tick().await;
        match app.purge_audit(retention).await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "audit records whose time is over were removed"),
            Err(error) => tracing::warn!(%error, "old audit records cannot be removed"),
        }
    }
}
