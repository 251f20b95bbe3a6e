//! The paths of tracking URLs: `/event/`, and those of the settings.

use std::rc::Rc;

use adtrack_config::{AtBound as OnBound, EventsConfig, TrackingRoute};
use adtrack_proto::bus::{AtBound, Durability};
use smol_str::SmolStr;

use super::durability::level;
use super::metrics::Route;

/// One path: what comes behind it is a program id.
#[derive(Debug)]
pub(super) struct TrackingPath {
    prefix: String,
    /// Under which its requests are counted.
    pub(super) route: Route,
    /// What holds its events before they are answered, unless a request asks for another level.
    pub(super) durability: Durability,
    /// What becomes of those that find a bound reached.
    pub(super) at_bound: AtBound,
    /// The type of those that name none.
    pub(super) event_type: SmolStr,
}

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct TrackingPaths(Rc<[TrackingPath]>);

impl TrackingPaths {
    /// Those of the settings, behind `/event/`: most requests ask for that.
    pub(super) fn new(events: &EventsConfig, routes: &[TrackingRoute]) -> Self {
        let usual = TrackingPath {
            prefix: "/event/".to_owned(),
            route: Route::Event,
            durability: level(events.durability),
            at_bound: at_bound(events.at_bound),
            event_type: SmolStr::default(),
        };
        let others = routes.iter().enumerate().map(|(index, route)| TrackingPath {
            prefix: route.path(),
            route: Route::Configured(index),
            durability: level(route.durability),
            at_bound: at_bound(route.at_bound),
            event_type: SmolStr::new(&route.name),
        });
        Self(std::iter::once(usual).chain(others).collect())
    }

    /// The one that a path begins with, and what comes behind.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(&TrackingPath, &'p str)> {
        self.0.iter().find_map(|known| path.strip_prefix(known.prefix.as_str()).map(|rest| (known, rest)))
    }
}

fn at_bound(setting: OnBound) -> AtBound {
    match setting {
        OnBound::Refuse => AtBound::Refuse,
        OnBound::Drop => AtBound::Drop,
    }
}
