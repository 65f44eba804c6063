//! A cosign that is not there, or says nothing that can be used, proves nothing (R1).

use super::BY_KEY;
use super::shop::{Shop, is_possible, tool};

#[test]
fn a_cosign_that_verifies_nothing_is_no_pass() {
    if !is_possible() {
        return;
    }
    let mut shop = Shop::new(BY_KEY);
    shop.key("ours");
    shop.build("one", &shop.commit);
    shop.push(&[]).assert_code(0);
    // Nothing is installed any more, and nothing can be: what lies on PATH counts, in the profile `local`.
    let (tools, bin) = (shop.project.path().join("target/xtask/tools"), shop.project.path().join("target/bin"));
    std::fs::remove_file(&tools).unwrap();
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(tool("crane"), bin.join("crane")).unwrap();
    shop.project.hide_program("go");
    shop.project.put_first(&bin);
    let absent = shop.container("verify", &[]);
    let reason = &absent.assert_code(20).gate("container/verify").reason;
    assert!(reason.contains("`cosign` cannot be had") && reason.contains("Go, which builds it"), "{reason}");
    for (script, why) in [
        ("exit 0", "cannot be verified"),
        ("echo 'Verified OK'", "cannot be verified"),
        ("echo '{\"payload\": \"eyJzdWJq'", "cannot be verified"),
        ("echo '{\"payload\": \"bm8ganNvbg==\"}'", "cannot be verified"),
        ("kill -9 $$", "killed by signal 9"),
        ("echo 'Error: none of us knows that' >&2; exit 1", "none of us knows that"),
        ("echo 'Error: connection refused' >&2; exit 1", "connection refused"),
    ] {
        let program = bin.join("cosign");
        std::fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = version ] && echo 9.9.9 && exit 0\n{script}\n"))
            .unwrap();
        std::process::Command::new("chmod").arg("755").arg(&program).status().unwrap();
        let ran = shop.container("verify", &[]);
        let gate = ran.assert_code(20).gate("container/verify");
        assert!(gate.reason.contains(why), "{script}: {}", gate.reason);
        let (version, hash) = (gate.tool.version.as_str(), gate.tool.hash.is_some());
        assert_eq!((version, hash), ("9.9.9", true), "the report says which cosign it was");
    }
    let elsewhere = shop.container("verify", &["--profile", "offline"]);
    assert!(elsewhere.assert_code(20).gate("container/verify").reason.contains("`cosign` cannot be had"));
}
