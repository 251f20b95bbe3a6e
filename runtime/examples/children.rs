//! Deployments: configured, with children that go before them, listed while they are there, reported when they have gone.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::time::Duration;

use vertebra::{
    Address, BoxError, Context, Deploy, DeployError, DeploymentId, DeploymentInfo, Failure, Handler, Runtime,
    UndeployError, Undeployed, Verticle,
};

const SCAN: Address<&'static str, usize> = Address::new("scanner.scan");
const WHOSE: Address<(), DeploymentId> = Address::new("scanner.whose");

#[derive(Clone)]
struct Settings {
    rules: Vec<&'static str>,
}

/// Has one child for each rule.
struct Scanner;

/// Counts how often its rule is found.
struct Rule(&'static str);

impl Verticle for Scanner {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let settings = ctx.config::<Settings>().ok_or("a scanner needs settings")?;
        for rule in settings.rules.clone() {
            ctx.deploy(Deploy::new(move || Rule(rule)).name(rule)).await?;
        }
        ctx.serve(SCAN).register()?;
        ctx.serve(WHOSE).register()?;
        Ok(())
    }

    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        Err("the last page was not scanned".into())
    }
}

impl Verticle for Rule {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(Address::<&'static str, usize>::dynamic(self.0)).register()?;
        Ok(())
    }
}

impl Handler<&'static str> for Rule {
    type Reply = usize;

    async fn handle(&self, text: &'static str, _: &Context<Self>) -> Result<usize, Failure> {
        Ok(text.matches(self.0).count())
    }
}

impl Handler<&'static str> for Scanner {
    type Reply = usize;

    async fn handle(&self, text: &'static str, ctx: &Context<Self>) -> Result<usize, Failure> {
        let mut found = 0;
        for rule in ctx.config::<Settings>().iter().flat_map(|settings| &settings.rules) {
            let of_rule: Address<&str, usize> = Address::dynamic(*rule);
            found += ctx.bus().request(of_rule, text).await?;
        }
        Ok(found)
    }
}

impl Handler<()> for Scanner {
    type Reply = DeploymentId;

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<DeploymentId, Failure> {
        Ok(ctx.deployment_id())
    }
}

fn main() -> Result<(), BoxError> {
    let rt = Runtime::builder().event_loops(2).build()?;
    rt.block_on(async {
        match rt.deploy(Deploy::new(|| Scanner)).await {
            Err(DeployError::Start { source, .. }) => println!("not deployed: {source}"),
            other => return Err(format!("it has no settings: {other:?}").into()),
        }

        let settings = Settings { rules: vec!["an", "na"] };
        let scanner = rt.deploy(Deploy::new(|| Scanner).config(settings)).await?;
        assert_eq!(rt.bus().request(SCAN, "banana").await?, 4);
        assert_eq!(rt.bus().request(WHOSE, ()).await?, scanner.id());

        let is_child = |known: &&DeploymentInfo| known.parent == Some(scanner.id());
        let listed = rt.deployments();
        assert_eq!(listed.iter().filter(is_child).map(|known| &*known.name).collect::<Vec<_>>(), ["an", "na"]);

        let id = scanner.id();
        let gone: Undeployed = rt.undeploy(id, Duration::from_secs(5)).await?;
        assert_eq!(gone.children.iter().map(|child| &*child.name).collect::<Vec<_>>(), ["na", "an"]);
        println!("{} went, but {:?}", gone.name, gone.failures);
        assert!(!gone.is_clean() && gone.abandoned == 0);
        assert_eq!(rt.undeploy(id, Duration::from_secs(5)).await, Err(UndeployError::Unknown { id }));
        rt.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}
