//! The live part: the table, the news, and the death of the leader half-way.

use std::{future::Future, pin::Pin, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use rerail_e2e::{Cluster, Operator};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    TryError,
    board::{Board, Face, News},
    crew::{self, Crew},
    eyes::{Eyes, Seen},
    picture,
    scene::{self, Allowed},
    screen::Screen,
};

/// How often the table is drawn and the Lease is read.
const TICK: Duration = Duration::from_millis(200);

/// Much longer than it takes, since machines may be busy. What is not healed by then is told of.
const PATIENCE: Duration = Duration::from_secs(300);

/// What came of the death of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Who was killed.
    pub killed: String,
    /// When, since the beginning.
    pub at: Duration,
    /// Who leads instead, and since how long after.
    pub next: Option<(String, Duration)>,
    /// How long after it a run went on.
    pub went_on: Option<Duration>,
}

/// What happened.
pub struct Tale {
    /// What was seen.
    pub board: Board,
    /// What came of the death of the leader; `None` if nobody had to die.
    pub handover: Option<Handover>,
    /// The beginning, by the clock of the truth log.
    pub began: Timestamp,
    /// All in all.
    pub took: Duration,
}

/// Shows everything until all are healed.
pub async fn perform<'a>(
    cluster: &'a Cluster,
    crew: &mut Crew<'a>,
    screen: &Screen,
    mut eyes: Eyes,
    allowed: Allowed,
) -> Result<Tale, TryError> {
    let began = rerail_fleet::now();
    let mut show = Show::new(cluster, screen, allowed);
    let mut hired: FuturesUnordered<Pin<Box<dyn Future<Output = Hired> + 'a>>> =
        FuturesUnordered::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            Some((t, seen)) = eyes.seen.recv() => match seen {
                Seen::Node(node) => show.board.see_node(t, &node),
                Seen::Run(run) => {
                    if let Some(news) = show.board.see_run(t, *run) {
                        show.tell(&news);
                    }
                }
            },
            Some(operator) = hired.next(), if !hired.is_empty() => {
                let operator = operator?;
                show.say(picture::LEADER, operator.name(), "is started in its place, and ready");
                crew.welcome(operator);
            }
            _ = tick.tick() => {
                show.look_for_the_leader(crew).await?;
                show.draw(crew);
                if show.everybody_is_healed() || show.began.elapsed() > PATIENCE {
                    break;
                }
                if let Some(leader) = show.who_has_to_die() {
                    crew.kill(&leader).await?;
                    show.killed(leader);
                    hired.push(Box::pin(crew.hire(scene::REPLACEMENT)));
                }
            }
        }
    }
    let took = show.began.elapsed();
    show.screen.close();
    Ok(Tale { board: show.board, handover: show.handover, began, took })
}

type Hired = Result<Operator, rerail_e2e::Error>;

struct Show<'a> {
    cluster: &'a Cluster,
    screen: &'a Screen,
    board: Board,
    allowed: Allowed,
    began: Instant,
    sick: Vec<String>,
    leader: Option<String>,
    handover: Option<Handover>,
    /// The rack that was told of last.
    rack: String,
}

impl<'a> Show<'a> {
    fn new(cluster: &'a Cluster, screen: &'a Screen, allowed: Allowed) -> Self {
        Show {
            cluster,
            screen,
            board: Board::default(),
            allowed,
            began: Instant::now(),
            sick: scene::sick().map(|(node, _)| node).collect(),
            leader: None,
            handover: None,
            rack: String::new(),
        }
    }

    fn say(&self, color: &str, who: &str, what: &str) {
        self.screen.say(&picture::told(self.began.elapsed(), color, who, what));
    }

    fn tell(&mut self, news: &News) {
        if let (Some(handover), Some(_)) = (&mut self.handover, &self.leader) {
            let since = self.began.elapsed().saturating_sub(handover.at);
            handover.went_on.get_or_insert(since);
        }
        let (rack, priority) = self.board.who(&news.node);
        let rack = rack.to_owned();
        if news.face == Face::Draining && rack != self.rack {
            let urgency = priority.map(|p| format!(", priority {p}")).unwrap_or_default();
            self.say(picture::RACK, &rack, &format!("is next: {}{urgency}", news.node));
            self.rack.clone_from(&rack);
        }
        let stuck = news.face == Face::Stuck;
        // The table shows the rest.
        if self.screen.is_live() && !stuck {
            return;
        }
        let elapsed = self.began.elapsed();
        let in_work = self.board.count(Face::in_work);
        let line = picture::news(elapsed, &rack, &news.node, priority, news.face, in_work);
        self.screen.say(&line);
        if stuck {
            self.say(picture::RACK, &rack, &news.says);
        }
    }

    async fn look_for_the_leader(&mut self, crew: &Crew<'_>) -> Result<(), TryError> {
        let Ok(leader) = crew::leader(self.cluster, &crew.names()).await else {
            // The next look follows soon.
            return Ok(());
        };
        if self.leader == leader {
            return Ok(());
        }
        if let Some(name) = &leader {
            let mut words = "leads".to_owned();
            if let Some(handover) = self.handover.as_mut().filter(|it| it.next.is_none()) {
                let after = self.began.elapsed().saturating_sub(handover.at);
                handover.next = Some((name.clone(), after));
                words = format!("leads, {:.1} s after the kill", after.as_secs_f64());
            }
            self.say(picture::LEADER, name, &words);
        }
        self.leader = leader;
        Ok(())
    }

    /// The leader, once about half of the nodes are healed; best while a machine reboots in its name.
    fn who_has_to_die(&self) -> Option<String> {
        let healed = self.board.count(|face| face == Face::Healed);
        let rebooting = self.board.count(|face| face == Face::Rebooting);
        let due = self.handover.is_none() && is_half_way(healed, self.sick.len(), rebooting);
        self.leader.clone().filter(|_| due)
    }

    fn killed(&mut self, leader: String) {
        self.say(picture::LEADER, &leader, "leads, and is killed now (SIGKILL)");
        self.leader = None;
        let at = self.began.elapsed();
        self.handover = Some(Handover { killed: leader, at, next: None, went_on: None });
    }

    fn everybody_is_healed(&self) -> bool {
        self.sick.iter().all(|node| self.board.is_done(node))
    }

    fn draw(&self, crew: &Crew<'_>) {
        if !self.screen.is_live() {
            return;
        }
        let names = crew.names();
        let leader = self.leader.as_deref();
        let standby: Vec<_> = names.into_iter().filter(|name| Some(*name) != leader).collect();
        let killed = self.handover.as_ref().map_or(Duration::ZERO, |handover| handover.at);
        let elapsed = self.began.elapsed();
        let lines = picture::lines(&picture::Scene {
            racks: self.board.racks(),
            sick: self.sick.len(),
            unavailable: (self.board.unavailable(), self.allowed.nodes),
            leader: picture::leader(leader, &standby, elapsed.saturating_sub(killed)),
            elapsed,
        });
        self.screen.draw(&lines);
    }
}

/// About half are healed. A machine that reboots meanwhile makes the death harder, and is waited for a
/// little.
fn is_half_way(healed: usize, sick: usize, rebooting: usize) -> bool {
    let half = healed * 2 + 1 >= sick;
    let late = healed * 10 >= sick * 7;
    half && (rebooting > 0 || late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_dies_half_way_and_if_it_can_be_while_a_machine_reboots() {
        assert!(!is_half_way(11, 25, 4));
        assert!(is_half_way(12, 25, 1));
        assert!(!is_half_way(12, 25, 0));
        assert!(!is_half_way(17, 25, 0));
        assert!(is_half_way(18, 25, 0));
    }
}
