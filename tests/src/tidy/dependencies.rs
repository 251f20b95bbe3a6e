//! Who depends on whom: rules about `cargo metadata`.

use serde::Deserialize;

use super::Violation;

/// Our packages and, of those, the ones each may depend on. Who is not listed may depend on any.
const DIRECTIONS: [(&str, &[&str]); 5] = [
    ("vertebra", &[]),
    ("adtrack-proto", &["vertebra"]),
    ("adtrack-config", &[]),
    ("adtrack", &["vertebra", "adtrack-proto", "adtrack-config"]),
    ("adtrack-backend", &["adtrack-proto", "adtrack-config"]),
];
/// Nothing depends on these.
const LEAVES: [&str; 3] = ["adtrack-tests", "adtrack-benches", "vertebra-conformance"];
/// Dependencies from outside that only some of our packages may have: the beginning of their names, and who may have them.
const GUARDED: [(&str, &[&str]); 3] = [
    ("aws-sdk-dynamodb", &["adtrack-backend"]),
    ("aws-", &["adtrack", "adtrack-backend", "adtrack-tests"]),
    ("redis", &["adtrack", "adtrack-backend", "adtrack-tests"]),
];

/// The part of `cargo metadata --no-deps` that the rules read.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Package>,
    workspace_default_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    default_run: Option<String>,
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
    #[serde(default)]
    features: std::collections::BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    optional: bool,
    #[serde(default)]
    features: Vec<String>,
}

/// Our packages depend on one another only in the directions of the house.
pub fn dependency_directions(metadata: &Metadata) -> Vec<Violation> {
    let is_ours = |name: &str| metadata.packages.iter().any(|package| package.name == name);
    let mut found = Vec::new();
    for package in &metadata.packages {
        let may = DIRECTIONS.iter().find(|(name, _)| *name == package.name).map(|(_, may)| *may);
        for dependency in package.dependencies.iter().filter(|dependency| is_ours(&dependency.name)) {
            // A package may name itself to switch on a feature for its own tests.
            let itself = dependency.name == package.name && dependency.kind.as_deref() == Some("dev");
            let allowed = may.is_none_or(|may| may.contains(&dependency.name.as_str()));
            if !itself && (!allowed || LEAVES.contains(&dependency.name.as_str())) {
                found.push(Violation::new(&package.name, 0, format!("must not depend on {}", dependency.name)));
            }
        }
        found.extend(bus_feature(package));
    }
    found
}

/// `proto` knows the runtime only behind its feature `bus`, and the backend leaves that off.
fn bus_feature(package: &Package) -> Option<Violation> {
    let normal = || package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
    let what = match package.name.as_str() {
        "adtrack-proto" => {
            let always = normal().any(|dependency| dependency.name == "vertebra" && !dependency.optional);
            let by_default = package.features.get("default").is_some_and(|on| on.iter().any(|name| name == "bus"));
            (always || by_default).then_some("depends on vertebra only with feature bus")
        }
        "adtrack-backend" => {
            let on = |dependency: &Dependency| dependency.features.iter().any(|feature| feature == "bus");
            normal()
                .any(|dependency| dependency.name == "adtrack-proto" && on(dependency))
                .then_some("uses adtrack-proto without feature bus")
        }
        _ => None,
    };
    what.map(|what| Violation::new(&package.name, 0, what))
}

/// The AWS SDK and the Redis driver are dependencies of the packages that use them and of nobody else.
pub fn outside_dependencies(metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            // The first that fits is the narrowest.
            let guard = GUARDED.iter().find(|(prefix, _)| dependency.name.starts_with(prefix));
            if guard.is_some_and(|(_, may)| !may.contains(&package.name.as_str())) {
                found.push(Violation::new(&package.name, 0, format!("must not depend on {}", dependency.name)));
            }
        }
    }
    found
}

/// A bare `cargo run` is the service and builds nothing else; what only tests is not published.
pub fn workspace_defaults(metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    let default_members: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_default_members.contains(&package.id))
        .map(|package| package.name.as_str())
        .collect();
    if default_members != ["adtrack"] {
        found.push(Violation::new(
            "Cargo.toml",
            0,
            format!("default-members are {default_members:?}, not adtrack alone"),
        ));
    }
    for package in &metadata.packages {
        if package.name == "adtrack" && package.default_run.as_deref() != Some("adtrack") {
            found.push(Violation::new("adtrack", 0, "default-run is not adtrack"));
        }
        if LEAVES.contains(&package.name.as_str()) && package.publish.as_ref().is_none_or(|places| !places.is_empty()) {
            found.push(Violation::new(&package.name, 0, "is not marked publish = false"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, dependencies: &[Value]) -> Value {
        json!({"id": name, "name": name, "default_run": "adtrack", "publish": [], "dependencies": dependencies})
    }

    fn on(name: &str) -> Value {
        json!({"name": name, "kind": null, "optional": false})
    }

    fn metadata(packages: &[Value]) -> Metadata {
        let value = json!({"packages": packages, "workspace_default_members": ["adtrack"]});
        serde_json::from_value(value).unwrap()
    }

    fn whats(violations: &[Violation]) -> Vec<String> {
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_against_the_direction_is_caught() {
        let house = metadata(&[
            package("vertebra", &[on("adtrack-config"), on("tokio")]),
            package("adtrack-config", &[]),
            package("adtrack", &[on("vertebra"), on("adtrack-config"), on("adtrack-tests")]),
            package("adtrack-tests", &[on("adtrack")]),
        ]);
        let expected = ["vertebra: must not depend on adtrack-config", "adtrack: must not depend on adtrack-tests"];
        assert_eq!(whats(&dependency_directions(&house)), expected);
    }

    #[test]
    fn a_package_may_name_itself_for_its_tests() {
        let itself = json!({"name": "vertebra", "kind": "dev", "optional": false, "features": ["testing"]});
        assert!(dependency_directions(&metadata(&[package("vertebra", &[itself])])).is_empty());
    }

    #[test]
    fn the_runtime_in_proto_without_the_feature_is_caught() {
        let optional = json!({"name": "vertebra", "kind": null, "optional": true});
        let house = |dependency: Value| metadata(&[package("vertebra", &[]), package("adtrack-proto", &[dependency])]);
        assert!(dependency_directions(&house(optional.clone())).is_empty());
        assert_eq!(dependency_directions(&house(on("vertebra"))).len(), 1);
        let mut by_default = package("adtrack-proto", &[optional]);
        by_default["features"] = json!({"default": ["bus"]});
        assert_eq!(dependency_directions(&metadata(&[by_default])).len(), 1);
    }

    #[test]
    fn the_bus_in_the_backend_is_caught() {
        let with_bus = json!({"name": "adtrack-proto", "kind": null, "optional": false, "features": ["bus"]});
        let house =
            |dependency: Value| metadata(&[package("adtrack-proto", &[]), package("adtrack-backend", &[dependency])]);
        assert!(dependency_directions(&house(on("adtrack-proto"))).is_empty());
        assert_eq!(dependency_directions(&house(with_bus)).len(), 1);
    }

    #[test]
    fn a_guarded_dependency_in_the_wrong_package_is_caught() {
        let house = metadata(&[
            package("adtrack", &[on("aws-sdk-kinesis"), on("aws-sdk-dynamodb"), on("redis")]),
            package("adtrack-proto", &[on("aws-config"), on("redis"), on("prost")]),
            package("adtrack-backend", &[on("aws-sdk-dynamodb")]),
        ]);
        let expected = [
            "adtrack: must not depend on aws-sdk-dynamodb",
            "adtrack-proto: must not depend on aws-config",
            "adtrack-proto: must not depend on redis",
        ];
        assert_eq!(whats(&outside_dependencies(&house)), expected);
    }

    #[test]
    fn other_defaults_and_a_published_test_package_are_caught() {
        let mut tests = package("adtrack-tests", &[]);
        tests["publish"] = Value::Null;
        let mut adtrack = package("adtrack", &[]);
        assert_eq!(workspace_defaults(&metadata(&[adtrack.clone(), tests])).len(), 1);
        adtrack["default_run"] = Value::Null;
        adtrack["id"] = json!("another id");
        assert_eq!(workspace_defaults(&metadata(&[adtrack])).len(), 2);
    }
}
