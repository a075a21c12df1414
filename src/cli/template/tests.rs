use super::*;
use proptest::prelude::*;
use serde_json::json;

fn made(template: &str) -> Result<String, String> {
    let value = json!({
        "ID": "abc", "Names": "web", "N": 3, "Labels": "a=b,c=d", "Empty": null,
        "State": {"Running": true, "Health": null, "FinishedAt": null},
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"x.y": "z"}, "Cmd": null, "Volumes": null},
        "Mounts": [{"Source": "/s", "Destination": "/d"}],
        "Networks": {"one": {"IPAddress": "10.0.0.1"}},
    });
    let template = Template::parse(template).map_err(|e| e.to_string())?;
    template.render(&value).map_err(|e| e.to_string())
}

/// What docker's client does, `tests/templates.rs` compares; this is what is
/// otherwise here, or younger than the client that is compared with.
#[test]
fn what_is_empty_is_no_error() {
    for (template, text) in [
        ("{{.State.Health.Status}}|{{.State.Health.Log.More}}", "|"),
        ("{{.Empty}}|{{.State.FinishedAt}}", "|"),
        (
            "{{.Config.Cmd}} {{.Config.Volumes}} {{.State.Health}}",
            "[] map[] <nil>",
        ),
        (
            "{{len .Config.Cmd}} {{len .Config.Volumes}} {{len .Empty}}",
            "0 0 0",
        ),
        ("{{(index .Networks \"none\").IPAddress}}|", "|"),
        ("{{upper .Empty}}{{join .Config.Cmd \",\"}}|", "|"),
        ("{{eq .Empty \"\"}} {{.Empty | printf \"%q\"}}", "true \"\""),
        ("{{.Label \"c\"}} {{.Label \"none\"}}|", "d |"),
        ("{{.Id}} {{.Config.Labels.x}}", "abc <no value>"),
        ("{{ .ID }}\\t{{.N}}\\n", "abc\t3\n"),
        (
            "{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}",
            "01201",
        ),
        ("{{with .Empty}}a{{else with .N}}{{.}}{{end}}", "3"),
    ] {
        assert_eq!(made(template).as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn what_is_wrong_is_shown_where_it_is() {
    for (template, says) in [
        (
            "{{.ID}} {{.Nme}}",
            "1:11: there is no field Nme, only Config, Empty, ID, Labels, Mounts, N, Names, \
             Networks, State\n  {{.ID}} {{.Nme}}\n            ^^^^",
        ),
        (
            "é\n\t{{upper .N}}",
            "2:4: upper: takes text here, not a number\n   {{upper .N}}\n     ^^^^^^^^",
        ),
        (
            "table {{Names}}",
            "1:9: there is no function Names: a field is .Names\n  table {{Names}}\n          ^^^^^",
        ),
        (
            "{{if .N}}",
            "1:10: {{if}} without {{end}}\n  {{if .N}}\n           ^",
        ),
        (
            "{{.Config.Labels.my-x}}",
            "1:20: '-' is in no field's name: index . \"a-b\" finds such a key\n  {{.Config.Labels.my-x}}\n                     ^",
        ),
    ] {
        let expected = format!("template: {says}");
        assert_eq!(made(template), Err(expected), "{template}");
    }
}

#[test]
fn no_template_goes_on_for_ever() {
    let deep = "(".repeat(60) + "1" + &")".repeat(60);
    let blocks = "{{if 1}}".repeat(60) + &"{{end}}".repeat(60);
    for (template, says) in [
        (
            "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
            "deep",
        ),
        ("{{range 1000000000000}}{{end}}", "come to an end"),
        (
            "{{$x := \"ab\"}}{{range 60}}{{$x = print $x $x}}{{end}}",
            "come to an end",
        ),
        (
            "{{range 1000}}{{printf \"%1000000d\" 1}}{{end}}",
            "come to an end",
        ),
        (
            "{{range 1000}}{{pad \"x\" 1000000 1}}{{end}}",
            "come to an end",
        ),
        (&format!("{{{{{deep}}}}}"), "more than 50 deep"),
        (&blocks, "more than 50 deep"),
    ] {
        let error = made(template).unwrap_err();
        assert!(error.contains(says), "{template}: {error}");
    }
}

#[test]
fn tables_have_heads() {
    let heads = |text: &str| {
        let template = Template::parse(text).unwrap();
        assert!(template.is_table());
        template.heads(&str::to_uppercase).unwrap()
    };
    assert_eq!(
        heads("table {{.ID}}\\t{{upper .Names}} x\\ty"),
        "ID\tNAMES x\ty"
    );
    assert_eq!(
        heads("table {{range .Mounts}}{{.Source}}{{end}}\\t{{.State.Status}}"),
        "\tSTATUS"
    );
    assert_eq!(
        heads("table {{index (split .Image \":\") 0}}{{with $x := .N}}{{$x}}{{end}}"),
        "IMAGEN"
    );
    assert_eq!(
        heads("table {{.Label \"com.a.my-x\"}} {{json .}}"),
        "my x <no value>"
    );
    assert!(!Template::parse("tables").unwrap().is_table());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_template_or_an_error(
        text in "([{}]{0,2}|[.a-zA-Z\"`'$:=()|% -]{0,6}|range|if|end|else|json|index|printf|\\.ID|1){0,12}",
    ) {
        let _ = made(&text);
    }

    /// Between braces that are whole.
    #[test]
    fn any_action_is_done_or_an_error(
        text in "(\\{\\{(range |if |with |end|else|\\$x := |print |index |slice |printf \"%\\*d%q\" |\\.Config\\.Env|\\.N|\\.|\\$x|[(|)] ?|-?1|\"é\"| ){1,6}\\}\\}|é ){1,8}",
    ) {
        let _ = made(&text);
    }
}
