//! What packages bring beside the program: completions and the manual are what the program prints, are where the system looks for them, and work.

use std::fs;
use std::process::Command;

use crate::support::command::logferry;
use crate::support::on_path;

/// What is shipped, how it is made, and where it goes.
const SHIPPED: [(&str, &str, &str); 4] = [
    (
        "packaging/completions/logferry.bash",
        "completions bash",
        "usr/share/bash-completion/completions/logferry",
    ),
    (
        "packaging/completions/_logferry",
        "completions zsh",
        "usr/share/zsh/vendor-completions/_logferry",
    ),
    (
        "packaging/completions/logferry.fish",
        "completions fish",
        "usr/share/fish/vendor_completions.d/logferry.fish",
    ),
    (
        "packaging/man/logferry.1",
        "man",
        "usr/share/man/man1/logferry.1",
    ),
];

/// Where other systems than Debian have it.
const ZSH_OF_RPM: &str = "usr/share/zsh/site-functions/_logferry";

#[test]
fn completions_and_manual_are_what_the_program_prints_and_are_in_the_packages() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let (deb, rpm) = manifest
        .split_once("[package.metadata.deb]")
        .unwrap()
        .1
        .split_once("[package.metadata.generate-rpm]")
        .unwrap();
    for (path, command, place) in SHIPPED {
        let said = logferry(command);
        assert_eq!(said.code, Some(0), "{}", said.err);
        let shipped = fs::read_to_string(path).unwrap_or_default();
        assert!(
            shipped == said.out,
            "{path} is not what the program prints: `just shipped` (or `logferry {command} > {path}`) makes it anew"
        );
        assert!(
            deb.contains(&format!("[\"{path}\", \"{place}\", \"644\"]")),
            "{place}"
        );
        let place = match place.contains("zsh") {
            true => ZSH_OF_RPM,
            false => place,
        };
        let asset = format!("{{ source = \"{path}\", dest = \"/{place}\", mode = \"644\"");
        assert!(rpm.contains(&asset), "{asset}");
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    let complete = |words: &str| {
        let script = format!(
            "source packaging/completions/logferry.bash
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _logferry logferry \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
            printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(
            said.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        String::from_utf8(said.stdout).unwrap()
    };
    assert_eq!(complete("logferry prod"), "produce\n");
    assert_eq!(complete("logferry groups res"), "reset\n");
    assert_eq!(complete("logferry consume --unt"), "--until\n");
}

#[test]
fn the_manual_is_one_that_groff_takes_without_a_word() {
    if !on_path("groff") {
        println!("groff is not here");
        return;
    }
    let said = Command::new("groff")
        .args([
            "-man",
            "-Tascii",
            "-P-cbou",
            "-ww",
            "packaging/man/logferry.1",
        ])
        .output()
        .unwrap();
    assert!(said.status.success());
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    let text = String::from_utf8_lossy(&said.stdout);
    for words in ["logferry produce", "--until", "EXIT STATUS"] {
        assert!(text.contains(words), "{words}");
    }
}
