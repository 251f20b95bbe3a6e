use super::*;
use proptest::prelude::*;

/// Values that look like settings more often than arbitrary text does.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        any::<i128>().prop_map(|number| number.to_string()),
        any::<u16>().prop_map(|number| number.to_string()),
        "[0-9.:/\\[\\]a-f,]{0,40}",
        "[!-~]{0,40}",
        Just("true".to_owned()),
        Just("reference".to_owned()),
    ]
}

/// `key = value` lines, half of them with keys that exist.
fn toml_line() -> impl Strategy<Value = String> {
    let known = prop::sample::select(listed()).prop_map(|(key, ..)| key);
    let key = prop_oneof![known, "[a-z_.]{1,20}", Just("[http]".to_owned())];
    let raw = prop_oneof![
        value(),
        value().prop_map(|text| format!("{text:?}")),
        Just("[1, 'x']".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("-1.5e300".to_owned()),
    ];
    (key, raw).prop_map(|(key, raw)| format!("{key} = {raw}"))
}

/// What must hold whatever was loaded.
fn is_sound(result: &Result<Config, ConfigErrors>) -> bool {
    match result {
        Ok(config) => {
            let lines = config.describe().iter().map(ToString::to_string);
            lines.count() == listed().len()
                && config.describe().iter().all(|each| each.to_string().lines().count() == 1)
        }
        // A line an error: a line break in a value or name would fake another one.
        Err(errors) => errors.left_out() > 0 || errors.to_string().lines().count() == errors.iter().count(),
    }
}

#[test]
fn a_file_of_nonsense_as_large_as_a_file_may_be_is_refused() {
    let many_keys: String = (0..80_000).map(|n| format!("k{n} = 1\n")).collect();
    let long_key = format!("{} = 1", "k".repeat(1_000_000));
    let deep_list = format!("compat = {}", "[".repeat(1_000_000));
    let deep_section = format!("[{}x]", "a.".repeat(500_000));
    let long_list = format!("http.trusted_proxies = [{}]", "'::1',".repeat(150_000));
    for text in [many_keys, long_key, deep_list, deep_section, long_list] {
        let message = refused(load_file(&text, &[]));
        assert!(message.len() < 100_000, "{} bytes", message.len());
    }
}

proptest! {
    #[test]
    fn any_text_as_a_file_is_loaded_or_refused(text in any::<String>()) {
        prop_assert!(is_sound(&load_file(&text, &[])));
    }

    #[test]
    fn any_lines_as_a_file_are_loaded_or_refused(lines in prop::collection::vec(toml_line(), 0..8)) {
        prop_assert!(is_sound(&load_file(&lines.join("\n"), &[])));
    }

    #[test]
    fn any_value_of_any_variable_is_loaded_or_refused(
        chosen in prop::collection::vec((prop::sample::select(listed()), value()), 1..6)
    ) {
        let chosen: BTreeMap<String, String> =
            chosen.into_iter().filter(|((key, ..), _)| !key.ends_with("_file")).map(|((key, ..), value)| (variable(&key), value)).collect();
        prop_assert!(is_sound(&Config::load(&Overrides::default(), &chosen)));
    }

    #[test]
    fn any_name_of_a_variable_is_passed_over_or_refused(name in "ADTRACK_.{0,60}", value in value()) {
        prop_assume!(!name.ends_with("_FILE") && name != "ADTRACK_CONFIG");
        prop_assert!(is_sound(&load(&[(&name, &value)])));
    }

    #[test]
    fn a_loaded_description_loads_again_to_itself(
        chosen in prop::collection::vec((prop::sample::select(listed()), value()), 1..4)
    ) {
        let chosen: BTreeMap<String, String> = chosen
            .into_iter()
            .filter(|((key, ..), _)| !key.contains("token") && !key.contains("password"))
            .map(|((key, ..), value)| (variable(&key), value))
            .collect();
        if let Ok(config) = Config::load(&Overrides::default(), &chosen) {
            let lines: Vec<String> = config.describe().iter().map(ToString::to_string).collect();
            let again = load_file(&lines.join("\n"), &[]).unwrap();
            for (one, other) in config.describe().iter().zip(again.describe()) {
                prop_assert_eq!((one.key, &one.value), (other.key, &other.value));
            }
        }
    }
}
