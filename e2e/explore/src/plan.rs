//! What is played in one run. Everything in it is drawn from the seed, or is said beside it: the seed and
//! what is said are enough to play it again.

use std::{fmt, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    draw::Draw,
    fault::Spoil,
    mishap::{self, Entry, Mishap},
    net::{KillPoint, Moment},
};

/// How a run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Mode {
    /// Faults all along; nothing bad may happen.
    Safety,
    /// Faults stop after a while; then everything that can heal has to heal.
    Liveness,
}

/// What is said beside the seed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// The scene; drawn from the seed without.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scene: Option<String>,
    /// Processes of the operator; drawn without.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operators: Option<usize>,
    /// Whether faults stop; drawn without.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Neither faults nor mishaps.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub calm: bool,
    /// So many of a thousand requests are spoiled; drawn without.
    #[arg(long, value_name = "THOUSANDTHS", value_parser = clap::value_parser!(u64).range(..=1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spoiled: Option<u64>,
    /// Ways of spoiling requests that are left out: what would be spoiled in them is not spoiled.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Spoil>,
    /// Mishaps that are left out, by their numbers from 1.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_mishaps: Vec<usize>,
    /// Only requests of these numbers are spoiled.
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<(u64, u64)>,
    /// No faults from this second on.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults_until: Option<u64>,
    /// The end of it all, in seconds.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<u64>,
    /// Requests at which the process that sends them dies, or loses the answer.
    #[arg(long = "kill", value_name = "REQUEST:MOMENT", value_parser = kill_point)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kills: Vec<KillPoint>,
}

impl Settings {
    /// The last request of all at which somebody dies or loses the answer.
    pub(crate) fn last_kill(&self) -> Option<u64> {
        self.kills.iter().map(|kill| kill.request).max()
    }
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let numbers =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    numbers.ok_or_else(|| format!("`{text}` is no range of requests; one is written 10..20"))
}

fn kill_point(text: &str) -> Result<KillPoint, String> {
    let (request, moment) = text.split_once(':').unwrap_or((text, "before"));
    let request = request.parse().map_err(|_| format!("`{request}` is no number of a request"))?;
    let moment = <Moment as clap::ValueEnum>::from_str(moment, false)?;
    Ok(KillPoint { request, moment })
}

/// As on the command line.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let value = |value: &dyn clap_name::Name| value.name();
        words.extend(self.scene.iter().map(|scene| format!("--scene {scene}")));
        words.extend(self.operators.iter().map(|count| format!("--operators {count}")));
        words.extend(self.mode.iter().map(|mode| format!("--mode {}", value(mode))));
        words.extend(self.calm.then(|| "--calm".to_owned()));
        words.extend(self.spoiled.iter().map(|count| format!("--spoiled {count}")));
        if !self.without.is_empty() {
            let names: Vec<_> = self.without.iter().map(|spoil| spoil.name()).collect();
            words.push(format!("--without {}", names.join(",")));
        }
        if !self.without_mishaps.is_empty() {
            let numbers: Vec<_> = self.without_mishaps.iter().map(usize::to_string).collect();
            words.push(format!("--without-mishaps {}", numbers.join(",")));
        }
        words.extend(self.requests.iter().map(|(from, to)| format!("--requests {from}..{to}")));
        words.extend(self.faults_until.iter().map(|until| format!("--faults-until {until}")));
        words.extend(self.ends.iter().map(|ends| format!("--ends {ends}")));
        let kill = |kill: &KillPoint| format!("--kill {}:{}", kill.request, value(&kill.moment));
        words.extend(self.kills.iter().map(kill));
        f.write_str(&words.join(" "))
    }
}

mod clap_name {
    //! The names that clap gives to the variants of an enum.

    pub trait Name {
        fn name(&self) -> String;
    }

    impl<T: clap::ValueEnum> Name for T {
        fn name(&self) -> String {
            self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
        }
    }
}

/// One run, completely.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// The scene's name.
    pub scene: String,
    /// Processes of the operator at a time.
    pub operators: usize,
    /// How it is to end.
    pub mode: Mode,
    /// So many of a thousand requests are spoiled.
    pub thousandths: u64,
    /// In these ways.
    pub spoils: Vec<Spoil>,
    /// But for these.
    pub without: Vec<Spoil>,
    /// Only requests of paths with this in them.
    pub aim: Option<&'static str>,
    /// Requests from this number to that one only.
    pub requests: (u64, u64),
    /// What befalls, each with its number; those that are left out are missing.
    pub mishaps: Vec<(usize, Entry)>,
    /// How far wall clocks may be off, in milliseconds.
    pub clocks: u64,
    /// No faults from then on.
    pub faults_until: Duration,
    /// The end of it all.
    pub ends: Duration,
    /// Requests at which something happens to their sender.
    pub kills: Vec<KillPoint>,
    /// In the end all is uninstalled.
    pub released: bool,
    /// Alertmanagers have moods, where there are some.
    pub moods: bool,
}

/// Scenes that are drawn from.
pub const SCENES: &[&str] =
    &["small", "people", "machines", "limits", "storm", "incurable", "moods", "outage", LATE];

/// The scene whose conditions the operator writes itself; of ten histories one is of it.
const ALERTS: &str = "alerts";

/// What faults may be about alone: then they come thick there, and nowhere else, so that what needs two of
/// them in a row is met.
const AIMS: &[&str] = &["/leases/rerail-operator", "/noderemediations", "/nodes/", "/pods"];

/// Here all that is watched is behind, in all histories but the calm ones.
const LATE: &str = "late";

impl Plan {
    /// The run of a seed, with what is said beside it.
    pub fn new(seed: u64, said: &Settings) -> Self {
        let mut draw = Draw::new(seed, "plan", 0);
        // Everything is drawn, so that what is said does not move what is not.
        let scene = draw.one_of(SCENES).copied().unwrap_or("small").to_owned();
        let operators = if draw.chance(600) { 2 } else { 1 };
        let mode = if draw.chance(600) { Mode::Liveness } else { Mode::Safety };
        let thousandths = draw.one_of(&[0, 5, 20, 60, 150]).copied().unwrap_or_default();
        let clocks = draw.one_of(&[0, 0, 1_500, 4_000, 3_600_000]).copied().unwrap_or_default();
        let minutes = draw.between(4, 20);
        // Each run has its own selection: what is rare in all would never meet what is rare, too.
        let spoils = Spoil::all().iter().copied().filter(|_| draw.chance(400));
        let spoils: Vec<Spoil> = spoils.collect();

        // A stream of its own, so that the other seeds stay what they were.
        let alerts = Draw::new(seed, "alerts", 0).chance(100);
        let scene = if alerts { ALERTS.to_owned() } else { scene };
        let scene = said.scene.clone().unwrap_or(scene);
        // Where nothing is spoiled, or watches alone, little is forgiven: then the judge is strictest.
        let (calm, watches) = match draw.below(100) {
            0..=19 => (true, false),
            20..=39 => (false, true),
            _ if scene == LATE => (false, true),
            _ => (false, false),
        };
        let calm = said.calm || calm && said.kills.is_empty();
        let spoils: Vec<Spoil> =
            spoils.into_iter().filter(|spoil| !watches || spoil.is_of_watches()).collect();
        let thousandths = match watches {
            true if scene == LATE => 1_000,
            true => 400,
            false => thousandths,
        };

        let mode = said.mode.unwrap_or(mode);
        // An operator whose clock is off by more than five seconds starts nothing, and nothing heals.
        let clocks = if mode == Mode::Liveness { clocks.min(4_000) } else { clocks };
        // A stream of its own, so that the other seeds stay what they were.
        let third = operators == 2 && Draw::new(seed, "third operator", 0).chance(200);
        let operators = if third { 3 } else { operators };
        let operators = said.operators.unwrap_or(operators).max(1);
        let drawn_until = Duration::from_mins(minutes);
        let faults_until = said.faults_until.map_or(drawn_until, Duration::from_secs);
        let ends = match (said.ends, mode) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Mode::Liveness) => faults_until + Duration::from_hours(3),
            (None, Mode::Safety) => faults_until,
        };
        let aim = draw.one_of(AIMS).copied().filter(|_| draw.chance(200) && !watches);
        let thousandths = if aim.is_some() { 250 } else { thousandths };
        let thousandths = said.spoiled.unwrap_or(thousandths);
        let drawn = mishap::drawn(seed, operators, drawn_until).into_iter();
        let mishaps = (1..).zip(drawn.chain(mishap::gone(seed, operators, drawn_until)));
        let mishaps = mishaps.filter(|(number, entry)| {
            !said.without_mishaps.contains(number) && entry.at <= faults_until
        });
        // When nothing befalls any more.
        let released = mode == Mode::Safety
            && ends >= faults_until
            && said.kills.is_empty()
            && Draw::new(seed, "released", 0).chance(300);
        Plan {
            seed,
            scene,
            operators,
            mode,
            thousandths: if calm { 0 } else { thousandths },
            spoils,
            without: said.without.clone(),
            aim,
            requests: said.requests.unwrap_or((1, u64::MAX)),
            mishaps: if calm || watches { Vec::new() } else { mishaps.collect() },
            clocks: if calm { 0 } else { clocks },
            faults_until,
            ends,
            kills: said.kills.clone(),
            released,
            moods: !calm,
        }
    }

    /// Whether etcd is restored from a backup some time.
    pub fn restores(&self) -> bool {
        self.mishaps.iter().any(|(_, entry)| matches!(entry.mishap, Mishap::EtcdRestored { .. }))
    }

    /// The operators' names.
    pub fn names(&self) -> Vec<String> {
        (1..=self.operators).map(|number| format!("operator-{number}")).collect()
    }
}
