use super::*;

const TOKEN: &str = "correct-horse-battery";

#[test]
fn a_secret_is_shown_neither_by_debug_nor_by_the_description() {
    let variables =
        [("ADTRACK_ADMIN_TOKEN", TOKEN), ("ADTRACK_REDIS_PASSWORD", TOKEN), ("ADTRACK_HTTP_COMPAT_ADMIN_TOKEN", TOKEN)];
    let config = load(&variables).unwrap();
    assert_eq!(config.redis.password.as_ref().unwrap().expose(), TOKEN);
    assert!(!format!("{config:?}").contains("horse"));
    for key in ["admin.token", "redis.password", "http.compat_admin_token"] {
        assert_eq!(described(&config, key).0, "\"***\"");
    }
    assert_eq!(described(&load(&[]).unwrap(), "admin.token").0, "\"\"");
}

#[test]
fn a_bad_secret_is_refused_without_being_shown() {
    let message = refused(load(&[("ADTRACK_ADMIN_TOKEN", "hunter2")]));
    assert_eq!(
        message,
        "admin.token = *** (from ADTRACK_ADMIN_TOKEN): must be empty or 16 to 256 visible ASCII characters"
    );
}

#[test]
fn a_password_in_a_url_where_a_host_belongs_is_not_shown() {
    let message = refused(load(&[("REDIS_HOST", "redis://:hunter2@host:6379")]));
    assert!(message.starts_with("redis.host = \"***host:6379\"") && !message.contains("hunter2"), "{message}");
}

#[test]
fn flags_do_not_show_their_values() {
    let mut flags = Overrides::default();
    flags.set("admin.token", TOKEN, "--admin-token");
    assert_eq!(format!("{flags:?}"), "Overrides { config_file: None, flags: [\"--admin-token\"] }");
    assert!(Config::load(&flags, &[("HOME", "/")]).unwrap().admin.token.unwrap().matches(TOKEN.as_bytes()));
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    for end in ["", "\n", "\r\n"] {
        let file = file(&format!("{TOKEN}{end}"));
        let path = file.path().to_str().unwrap();
        let config = load(&[("ADTRACK_ADMIN_TOKEN_FILE", path), ("ADTRACK_REDIS_PASSWORD_FILE", path)]).unwrap();
        assert_eq!(config.admin.token.as_ref().unwrap().expose(), TOKEN);
        assert_eq!(config.redis.password.as_ref().unwrap().expose(), TOKEN);
        let expected = ("\"***\"".to_owned(), format!("from the content of {path}"));
        assert_eq!(described(&config, "admin.token"), expected);
    }
}

#[test]
fn a_secret_and_its_file_exclude_each_other() {
    let file = file(TOKEN);
    let path = file.path().to_str().unwrap();
    let message = refused(load(&[("ADTRACK_ADMIN_TOKEN_FILE", path), ("ADTRACK_ADMIN_TOKEN", TOKEN)]));
    let expected = "admin.token (from ADTRACK_ADMIN_TOKEN) and admin.token_file (from ADTRACK_ADMIN_TOKEN_FILE) exclude each other";
    assert!(message.starts_with(expected), "{message}");
    let text = format!("[admin]\ntoken_file = '{path}'\n");
    let taken_back = [("ADTRACK_ADMIN_TOKEN_FILE", ""), ("ADTRACK_ADMIN_TOKEN", TOKEN)];
    assert!(load_file(&text, &taken_back).is_ok());
}

#[test]
fn a_secret_file_that_is_absent_empty_or_too_large_is_told_once() {
    let (empty, large) = (file("\n"), file(&"x".repeat(4097)));
    for (path, reason) in [
        ("/nowhere/token", "No such file"),
        (empty.path().to_str().unwrap(), "empty"),
        (large.path().to_str().unwrap(), "larger than 4096 bytes"),
    ] {
        let message = refused(load(&[("ADTRACK_ADMIN_TOKEN_FILE", path), ("ADTRACK_ADMIN_LISTEN", "0.0.0.0:9090")]));
        let expected =
            format!("{path} (named by admin.token_file, from ADTRACK_ADMIN_TOKEN_FILE) cannot be read: {reason}");
        assert!(message.starts_with(&expected) && message.lines().count() == 1, "{message}");
    }
}
