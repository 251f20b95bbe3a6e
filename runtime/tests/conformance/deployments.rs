//! Deployments: how they come, how they go, their children, instances and configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Context, Deploy, DeployError, DeploymentId, Failure, Handler, Runtime, SendError, UndeployError,
    Verticle,
};

use crate::promises;
use crate::support::{Census, Gate, OnDrop, Seen, eventually};

const SERVED: Address<u32, u32> = Address::new("served");
const DEPLOY_CHILD: Address<(), bool> = Address::new("deploy a child");

/// What happened, to which verticle, on which thread, and what was listed then.
#[derive(Clone, Debug, PartialEq)]
struct Moment {
    what: &'static str,
    name: &'static str,
    thread: ThreadId,
    listed: Vec<String>,
}

/// How the verticles of a test behave.
#[derive(Clone, Default)]
struct Kit {
    moments: Seen<Moment>,
    ids: Seen<DeploymentId>,
    census: Census,
    gate: Gate,
}

/// Notes its life; waits at the gate in its start when told to.
struct Actor {
    kit: Kit,
    rt: Runtime,
    name: &'static str,
    play: Play,
    _token: Arc<()>,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum Play {
    #[default]
    Plain,
    StartWaits,
    StartFails,
    StartFailsAt(usize),
    StopFails,
    StopDeploysChild,
    DropPanics,
    /// Deploys one that plays this.
    HasChild(&'static Play),
    /// Deploys a child whose start waits, and fails without waiting for it.
    FailsWithChildStarting,
}

impl Kit {
    fn actor(&self, rt: &Runtime, name: &'static str, play: Play) -> Deploy<Actor> {
        let (kit, rt) = (self.clone(), rt.clone());
        let factory = move || Actor { kit: kit.clone(), rt: rt.clone(), name, play, _token: kit.census.token() };
        Deploy::new(factory).name(name)
    }

    fn life(&self) -> Vec<(&'static str, &'static str)> {
        self.moments.all().into_iter().map(|moment| (moment.what, moment.name)).collect()
    }

    fn moment(&self, what: &str, name: &str) -> Moment {
        let found = self.moments.all().into_iter().find(|moment| (moment.what, moment.name) == (what, name));
        found.unwrap_or_else(|| panic!("{name} has had no {what}: {:?}", self.life()))
    }
}

impl Actor {
    fn note(&self, what: &'static str) {
        let listed = self.rt.deployments().into_iter().map(|known| known.name).collect();
        let thread = std::thread::current().id();
        self.kit.moments.note(Moment { what, name: self.name, thread, listed });
    }
}

impl Verticle for Actor {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.kit.ids.note(ctx.deployment_id());
        ctx.serve(SERVED).register()?;
        self.note("start");
        match self.play {
            Play::StartWaits => self.kit.gate.wait().await,
            Play::StartFails => return Err("no disk".into()),
            Play::StartFailsAt(instance) if instance == ctx.instance() => return Err("no disk".into()),
            Play::HasChild(play) => {
                ctx.deploy(self.kit.actor(&self.rt, "child", *play)).await?;
            }
            Play::FailsWithChildStarting => {
                let (own, child) = (ctx.clone(), self.kit.actor(&self.rt, "child", Play::StartWaits));
                ctx.spawn(async move { drop(own.deploy(child).await) });
                eventually(ctx.clock(), "the child is starting", || self.kit.life().contains(&("start", "child")))
                    .await;
                return Err("no disk".into());
            }
            _ => {}
        }
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.note("stop");
        match self.play {
            Play::StopFails => Err("it was stuck".into()),
            Play::StopDeploysChild => {
                ctx.deploy(self.kit.actor(&self.rt, "late", Play::Plain)).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Handler<u32> for Actor {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        self.note("work");
        Ok(number)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        assert!(self.play != Play::DropPanics, "a verticle that falls apart");
    }
}

promises! {
    /// A deployment resolves to its id when the start of every instance has finished, and is listed from then on.
    async fn v122_a_deployment_resolves_when_every_start_has_finished_and_is_listed_then(rt: &TestRuntime) {
        let kit = Kit::default();
        let deploying = tokio::task::spawn_local({
            let (own, actor) = ((*rt).clone(), kit.actor(&rt, "slow", Play::StartWaits).instances(3));
            async move { own.deploy(actor).await }
        });
        eventually(rt.clock(), "all have begun", || kit.moments.len() == 3).await;
        assert!(!deploying.is_finished());
        kit.gate.open();
        let id = deploying.await.unwrap().unwrap().id();
        assert_eq!(kit.ids.all(), [id; 3]);
        assert_eq!(rt.deployments().iter().map(|known| known.id).collect::<Vec<_>>(), [id]);
    }

    /// As long as a start is pending, its deployment is not listed.
    async fn v123_what_is_starting_is_not_listed(rt: &TestRuntime) {
        let kit = Kit::default();
        let deploying = tokio::task::spawn_local({
            let (own, actor) = ((*rt).clone(), kit.actor(&rt, "slow", Play::StartWaits));
            async move { own.deploy(actor).await }
        });
        eventually(rt.clock(), "it has begun", || kit.moments.len() == 1).await;
        assert_eq!(rt.deployments(), []);
        kit.gate.open();
        deploying.await.unwrap().unwrap();
        assert_eq!(rt.deployments().len(), 1);
    }

    /// A start that fails fails the deployment with its error; what it had registered and held is gone by then.
    async fn v125_a_failed_start_is_the_error_of_its_deployment_and_leaves_nothing(rt: &TestRuntime) {
        let kit = Kit::default();
        let refused = rt.deploy(kit.actor(&rt, "broken", Play::StartFails)).await.unwrap_err();
        assert!(matches!(&refused, DeployError::Start { source, .. } if source.to_string() == "no disk"), "{refused}");
        assert_eq!(rt.deployments(), []);
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
        assert_eq!(kit.census.alive(), 0);
    }

    /// What did not start is not stopped.
    async fn v126_stop_is_not_called_for_what_has_not_started(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.actor(&rt, "broken", Play::StartFails)).await.unwrap_err();
        rt.shutdown(Duration::from_secs(5)).await;
        assert_eq!(kit.life(), [("start", "broken")]);
    }

    /// Ids count up and are never used twice, also when what had them is gone.
    async fn v129_ids_are_unique_and_count_up(rt: &TestRuntime) {
        let kit = Kit::default();
        let mut ids: Vec<u64> = Vec::new();
        for round in 0..10 {
            let play = if round % 3 == 0 { Play::StartFails } else { Play::Plain };
            if let Ok(deployment) = rt.deploy(kit.actor(&rt, "one", play)).await {
                ids.push(deployment.id().to_string().parse().unwrap());
                deployment.undeploy().await.unwrap();
            }
        }
        assert_eq!(ids.len(), 6);
        assert!(ids.is_sorted() && ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
    }

    /// What whoever deployed something does with it - panic, for one - is nothing to the deployment.
    async fn v130_a_caller_that_panics_over_the_result_does_not_undo_the_deployment(rt: &TestRuntime) {
        let kit = Kit::default();
        let (own, actor) = ((*rt).clone(), kit.actor(&rt, "one", Play::Plain));
        let caller = tokio::task::spawn_local(async move {
            let deployment = own.deploy(actor).await.unwrap();
            panic!("what to do with {deployment:?}");
        });
        assert!(caller.await.unwrap_err().is_panic());
        assert_eq!(rt.deployments().len(), 1);
        assert_eq!(rt.bus().request(SERVED, 7).await, Ok(7));
    }

    /// An instance is stopped on the thread it was started on, and whoever undeploys it goes on where they were.
    async fn v131_stop_runs_where_start_ran_and_the_caller_goes_on_where_it_was(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.actor(&rt, "one", Play::Plain)).await.unwrap();
        let before = std::thread::current().id();
        deployment.undeploy().await.unwrap();
        assert_eq!(std::thread::current().id(), before);
        assert_eq!(kit.moment("stop", "one").thread, kit.moment("start", "one").thread);
    }

    /// What is not deployed, or not any more, cannot be undeployed; the error names it.
    async fn v132_undeploying_what_is_not_there_is_an_error_that_names_it(rt: &TestRuntime) {
        let deployment = rt.deploy(Kit::default().actor(&rt, "one", Play::Plain)).await.unwrap();
        let id = deployment.id();
        deployment.clone().undeploy().await.unwrap();
        assert_eq!(deployment.undeploy().await, Err(UndeployError::Unknown { id }));
        let again = rt.undeploy(id, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(again.to_string(), format!("unknown deployment {id}"));
    }

    /// A stop that fails is reported with its reason; the deployment is gone all the same, with what belonged to it.
    async fn v134_a_failed_stop_is_reported_and_the_deployment_is_gone_all_the_same(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.actor(&rt, "one", Play::StopFails)).await.unwrap();
        assert_eq!(deployment.undeploy().await.unwrap().failures, ["instance 0: it was stuck"]);
        assert_eq!(rt.deployments(), []);
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
        assert_eq!(kit.census.alive(), 0);
    }

    /// What goes wrong once stop has finished - the drop of the verticle - is no failure of the undeployment.
    async fn v135_what_goes_wrong_after_stop_does_not_fail_the_undeployment(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.actor(&rt, "one", Play::DropPanics)).await.unwrap();
        assert!(deployment.undeploy().await.unwrap().is_clean());
        assert_eq!(rt.deployments(), []);
        rt.deploy(kit.actor(&rt, "next", Play::Plain)).await.unwrap();
        assert_eq!(rt.bus().request(SERVED, 7).await, Ok(7));
    }

    /// Tasks and consumers outlive stop, and nothing else: they are gone when the undeployment is done.
    async fn v136_tasks_and_consumers_end_after_stop_and_before_the_undeployment_is_done(rt: &TestRuntime) {
        let (order, census) = (Seen::default(), Census::default());
        let (note, token) = (order.clone(), census.clone());
        let deployment = rt.deploy(Deploy::new(move || Lasting { order: note.clone(), census: token.clone() }));
        let deployment = deployment.await.unwrap();
        deployment.undeploy().await.unwrap();
        assert_eq!(order.all(), ["stop", "task"]);
        assert_eq!(census.alive(), 0);
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
    }

    /// What a verticle deploys is a deployment of its own: another id, another instance, its parent named.
    async fn v138_what_a_verticle_deploys_is_its_child(rt: &TestRuntime) {
        let kit = Kit::default();
        let parent = rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::Plain))).await.unwrap();
        let ids = kit.ids.all();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 2);
        let child = rt.deployments().into_iter().find(|known| known.name == "child").unwrap();
        assert_eq!((child.parent, child.instances), (Some(parent.id()), 1));
        assert_eq!(kit.census.alive(), 2);
    }

    /// Undeploying a parent stops its children first. In the parent's stop the child is listed no more, the parent is.
    async fn v139_children_are_gone_before_their_parent_stops(rt: &TestRuntime) {
        let kit = Kit::default();
        let parent = rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::HasChild(&Play::Plain)))).await.unwrap();
        let report = parent.undeploy().await.unwrap();
        let stopped: Vec<_> = kit.life().into_iter().filter(|(what, _)| *what == "stop").collect();
        assert_eq!(stopped, [("stop", "child"), ("stop", "child"), ("stop", "parent")]);
        assert_eq!(kit.moment("stop", "parent").listed, ["parent"]);
        assert_eq!(rt.deployments(), []);
        assert_eq!((report.children.len(), report.children[0].children.len()), (1, 1));
    }

    /// A child that is still starting when its parent fails goes as well; it is not there for a moment.
    async fn v141_a_child_that_is_still_starting_when_its_parent_fails_goes_as_well(rt: &TestRuntime) {
        let kit = Kit::default();
        let refused = rt.deploy(kit.actor(&rt, "parent", Play::FailsWithChildStarting)).await.unwrap_err();
        assert!(matches!(refused, DeployError::Start { name, .. } if name == "parent"));
        kit.gate.open();
        assert_eq!(kit.life(), [("start", "parent"), ("start", "child")]);
        assert_eq!(rt.deployments(), []);
        assert_eq!(kit.census.alive(), 0);
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
    }

    /// A child may be undeployed by itself; its parent goes on, and may be undeployed afterwards.
    async fn v142_a_child_may_be_undeployed_by_itself_and_its_parent_afterwards(rt: &TestRuntime) {
        let kit = Kit::default();
        let parent = rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::Plain))).await.unwrap();
        let child = rt.deployments().into_iter().find(|known| known.parent.is_some()).unwrap();
        rt.undeploy(child.id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(rt.deployments().iter().map(|known| known.id).collect::<Vec<_>>(), [parent.id()]);
        assert_eq!(rt.bus().request(SERVED, 1).await, Ok(1));
        assert!(parent.undeploy().await.unwrap().children.is_empty());
    }

    /// A parent that is stopping gets no children any more; a stop that insists on one fails with that.
    async fn v143_a_child_deployed_in_the_parents_stop_fails_and_so_does_the_stop(rt: &TestRuntime) {
        let kit = Kit::default();
        let parent = rt.deploy(kit.actor(&rt, "parent", Play::StopDeploysChild)).await.unwrap();
        let report = parent.undeploy().await.unwrap();
        let failure = "instance 0: deployment late cannot be a child: its parent is being undeployed";
        assert_eq!(report.failures, [failure]);
        assert_eq!(kit.life(), [("start", "parent"), ("stop", "parent")]);
        assert_eq!(rt.deployments(), []);
    }

    /// The list has parents and children alike: ten of each are twenty.
    async fn v145_the_list_has_parents_and_children(rt: &TestRuntime) {
        let kit = Kit::default();
        for _ in 0..10 {
            rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::Plain))).await.unwrap();
        }
        let listed = rt.deployments();
        assert_eq!(listed.len(), 20);
        assert_eq!(listed.iter().filter(|known| known.parent.is_some()).count(), 10);
        assert_eq!(listed.iter().map(|known| known.id).collect::<BTreeSet<_>>().len(), 20);
    }

    /// One instance unless told otherwise. Several are as many objects, with one id and one result.
    async fn v146_instances_are_objects_of_their_own_with_one_id_and_one_result(rt: &TestRuntime) {
        let kit = Kit::default();
        let one = rt.deploy(kit.actor(&rt, "one", Play::Plain)).await.unwrap();
        assert_eq!(kit.census.alive(), 1);
        one.undeploy().await.unwrap();
        let five = rt.deploy(kit.actor(&rt, "five", Play::Plain).instances(5)).await.unwrap();
        assert_eq!(kit.census.alive(), 5);
        assert_eq!(kit.ids.all()[1..], [five.id(); 5]);
        let listed = rt.deployments();
        assert_eq!((listed.len(), listed[0].instances), (1, 5));
    }

    /// Fewer than one instance is refused, and nothing is made.
    async fn v147_fewer_than_one_instance_is_refused(rt: &TestRuntime) {
        let kit = Kit::default();
        let refused = rt.deploy(kit.actor(&rt, "none", Play::Plain).instances(0)).await;
        assert!(matches!(refused, Err(DeployError::NoInstances { name }) if name == "none"));
        assert_eq!((kit.census.alive(), kit.life().len(), rt.deployments().len()), (0, 0, 0));
    }

    /// A factory that panics - for one instance of several - fails the deployment, and nothing of it is left.
    async fn v149_a_factory_that_panics_fails_the_deployment_and_nothing_is_left(rt: &TestRuntime) {
        let (kit, made) = (Kit::default(), Arc::new(AtomicUsize::new(0)));
        let (own, factory_rt) = (kit.clone(), (*rt).clone());
        let deploy = Deploy::new(move || {
            assert!(made.fetch_add(1, Ordering::SeqCst) != 2, "no memory");
            let _token = own.census.token();
            Actor { kit: own.clone(), rt: factory_rt.clone(), name: "some", play: Play::Plain, _token }
        });
        let refused = rt.deploy(deploy.instances(4)).await.unwrap_err();
        assert!(matches!(refused, DeployError::Panicked { panic, .. } if panic.contains("no memory")));
        assert_eq!((kit.census.alive(), rt.deployments().len()), (0, 0));
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
    }

    /// When one of several does not start, those that have are stopped, all are gone, and the deployment fails once.
    async fn v150_one_of_several_that_does_not_start_undoes_the_others(rt: &TestRuntime) {
        let kit = Kit::default();
        let refused = rt.deploy(kit.actor(&rt, "some", Play::StartFailsAt(2)).instances(5)).await.unwrap_err();
        assert!(matches!(refused, DeployError::Start { instance: 2, .. }), "{refused}");
        let count = |what| kit.life().into_iter().filter(|moment| moment.0 == what).count();
        assert_eq!((count("start"), count("stop")), (5, 4));
        assert_eq!((kit.census.alive(), rt.deployments().len()), (0, 0));
        assert_eq!(rt.bus().try_send(SERVED, 1), Err(SendError::NoHandlers(1)));
    }

    /// Instances go round the event loops: as many of them as there are loops run on as many threads.
    async fn v151_instances_go_round_the_event_loops(rt: &TestRuntime) {
        let kit = Kit::default();
        let loops = rt.event_loops();
        rt.deploy(kit.actor(&rt, "spread", Play::Plain).instances(loops * 2)).await.unwrap();
        let mut times = std::collections::HashMap::new();
        for moment in kit.moments.all() {
            *times.entry(moment.thread).or_insert(0) += 1;
        }
        assert_eq!(times.into_values().collect::<Vec<_>>(), vec![2; loops]);
    }

    /// Configuration given at deployment is read by every instance; where none was given, there is none.
    async fn v153_configuration_is_read_by_the_instances_and_none_given_is_none(rt: &TestRuntime) {
        let read = Seen::default();
        let note = read.clone();
        let reader = Deploy::new(move || Reader { read: note.clone() });
        rt.deploy(reader.clone().config(Limits { retries: 3 }).instances(2)).await.unwrap();
        rt.deploy(reader).await.unwrap();
        assert_eq!(read.all(), [Some(3), Some(3), None]);
    }

    /// A copy of a deployment is configured by itself, and no instance can change what the others read.
    async fn v154_the_configuration_of_a_copy_is_its_own(rt: &TestRuntime) {
        let read = Seen::default();
        let note = read.clone();
        let first = Deploy::new(move || Reader { read: note.clone() }).config(Limits { retries: 1 });
        let second = first.clone().config(Limits { retries: 2 });
        rt.deploy(second).await.unwrap();
        rt.deploy(first).await.unwrap();
        assert_eq!(read.all(), [Some(2), Some(1)]);
    }

    /// Whoever serves an address and deploys a child when asked gets one child for each request, all gone with the parent.
    async fn children_deployed_by_handlers_and_tasks_go_with_the_instance_that_deployed_them(rt: &TestRuntime) {
        let census = Census::default();
        let token = census.clone();
        let parent = rt.deploy(Deploy::new(move || Brood { census: token.clone() }).instances(2)).await.unwrap();
        for _ in 0..6 {
            assert_eq!(rt.bus().request(DEPLOY_CHILD, ()).await, Ok(true));
        }
        assert_eq!((census.alive(), rt.deployments().len()), (6, 7));
        assert_eq!(parent.undeploy().await.unwrap().children.len(), 6);
        assert_eq!((census.alive(), rt.deployments().len()), (0, 0));
    }

    /// A parent whose undeployment nobody waits for any more goes to its end all the same, children first.
    async fn an_undeployment_that_nobody_waits_for_any_more_goes_on_to_its_end(rt: &TestRuntime) {
        let kit = Kit::default();
        let parent = rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::Plain))).await.unwrap();
        {
            let mut undeploying = Box::pin(parent.undeploy());
            std::future::poll_fn(|cx| {
                drop(undeploying.as_mut().poll(cx));
                std::task::Poll::Ready(())
            })
            .await;
        }
        eventually(rt.clock(), "both are gone", || rt.deployments().is_empty()).await;
        let stopped: Vec<_> = kit.life().into_iter().filter(|(what, _)| *what == "stop").collect();
        assert_eq!(stopped, [("stop", "child"), ("stop", "parent")]);
        eventually(rt.clock(), "nothing is left", || kit.census.alive() == 0).await;
    }

    /// Closing undeploys everything, children through their parents, and nothing is listed afterwards.
    async fn v208_closing_undeploys_everything(rt: &TestRuntime) {
        let kit = Kit::default();
        for _ in 0..3 {
            rt.deploy(kit.actor(&rt, "parent", Play::HasChild(&Play::Plain))).await.unwrap();
        }
        let report = rt.shutdown(Duration::from_secs(5)).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.deployments.iter().map(|one| one.children.len()).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!((kit.census.alive(), rt.deployments().len()), (0, 0));
        let refused = rt.deploy(kit.actor(&rt, "late", Play::Plain)).await;
        assert!(matches!(refused, Err(DeployError::ShuttingDown { .. })));
    }

    /// A verticle that fails in its stop does not keep the runtime from closing.
    async fn v209_what_fails_in_its_stop_does_not_keep_the_runtime_from_closing(rt: &TestRuntime) {
        let kit = Kit::default();
        for play in [Play::Plain, Play::StopFails, Play::Plain] {
            rt.deploy(kit.actor(&rt, "one", play)).await.unwrap();
        }
        let report = rt.shutdown(Duration::from_secs(5)).await;
        assert!(!report.is_clean());
        assert_eq!(report.deployments[1].failures, ["instance 0: it was stuck"]);
        assert_eq!((report.deployments.len(), kit.census.alive(), rt.deployments().len()), (3, 0, 0));
    }

    /// Closing while something starts: the deployment fails, stop is not called, and all of it is gone by then.
    async fn v211_closing_while_something_starts_cuts_the_start_off(rt: &TestRuntime) {
        let kit = Kit::default();
        let deploying = tokio::task::spawn_local({
            let (own, actor) = ((*rt).clone(), kit.actor(&rt, "slow", Play::StartWaits));
            async move { own.deploy(actor).await }
        });
        eventually(rt.clock(), "it has begun", || kit.moments.len() == 1).await;
        let report = rt.shutdown(Duration::from_secs(5)).await;
        assert_eq!((report.deployments.len(), kit.census.alive()), (1, 0));
        assert!(matches!(deploying.await.unwrap(), Err(DeployError::Undeployed { .. })));
        assert_eq!(kit.life(), [("start", "slow")]);
    }

    /// Closing takes every registration back: what is sent afterwards comes back, and whoever waits is told.
    async fn v212_closing_takes_every_registration_back(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.actor(&rt, "one", Play::Plain).instances(3)).await.unwrap();
        assert_eq!(rt.bus().request(SERVED, 1).await, Ok(1));
        rt.shutdown(Duration::from_secs(5)).await;
        assert!(rt.bus().try_send(SERVED, 1).is_err());
        assert!(rt.bus().request(SERVED, 1).await.is_err());
        assert_eq!(rt.bus().publish(SERVED, 1).reached, 0);
    }
}

/// Its task and its stop tell when they end.
struct Lasting {
    order: Seen<&'static str>,
    census: Census,
}

impl Verticle for Lasting {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let (order, token) = (self.order.clone(), self.census.token());
        ctx.spawn(async move {
            let _held = (OnDrop::new(move || order.note("task")), token);
            std::future::pending().await
        });
        let token = self.census.token();
        ctx.serve_fn(SERVED, move |number| {
            let _held = &token;
            async move { Ok(number) }
        })
        .register()?;
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.clock().sleep(Duration::from_millis(10)).await;
        self.order.note("stop");
        Ok(())
    }
}

struct Limits {
    retries: u32,
}

struct Reader {
    read: Seen<Option<u32>>,
}

impl Verticle for Reader {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        assert!(ctx.config::<String>().is_none(), "of another type");
        self.read.note(ctx.config::<Limits>().map(|limits| limits.retries));
        Ok(())
    }
}

struct Brood {
    census: Census,
}

struct Chick {
    _token: Arc<()>,
}

impl Verticle for Chick {}

impl Verticle for Brood {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(DEPLOY_CHILD).register()?;
        Ok(())
    }
}

impl Handler<()> for Brood {
    type Reply = bool;
    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<bool, Failure> {
        let census = self.census.clone();
        Ok(ctx.deploy(Deploy::new(move || Chick { _token: census.token() })).await.is_ok())
    }
}
