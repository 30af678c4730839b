//! Runs the commands of the Git server's README, from setup to password rotation.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::common::{example, name};
use crate::world::{PROGRAM, Server, World, element, err, status};

/// The id of the first credential in the README.
const ID: &str = "ACCA7DMBL7IBDT3HXW6NI";

/// The commands of two sections of the README.
fn commands_of(sections: [&str; 2]) -> Vec<Vec<&'static str>> {
    let readme = include_str!("../../examples/git_server/README.md");
    let section = |title| {
        let (_, rest) = readme.split_once(title).unwrap();
        rest.split_once("\n## ").map_or(rest, |(section, _)| section)
    };
    let lines = sections.into_iter().flat_map(|title| section(title).lines());
    let commands = lines.filter_map(|line| line.strip_prefix("$ "));
    commands.map(|line| line.split(' ').collect()).collect()
}

/// Runs the commands of the README.
struct Runner {
    world: World,
    server: Option<Server>,
    /// The passwords of the first and of the second credential.
    passwords: Vec<String>,
    /// The id of the first credential.
    id: String,
    /// The number of pushes so far.
    pushes: usize,
}

impl Runner {
    fn new() -> Self {
        let world = World::new("rotation");
        world.create_work_tree("work");
        Self { world, server: None, passwords: Vec::new(), id: String::new(), pushes: 0 }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    fn store(&self) -> String {
        format!("redb:{}", self.world.folder.file("credentials.redb").display())
    }

    /// Runs one command of the README, with the paths of the test and with free ports.
    fn run(&mut self, line: &[&str]) {
        match line {
            [
                "cargo",
                "run",
                "--example",
                "credentials",
                "--",
                "--store",
                "redb:git.redb",
                line @ ..,
            ] => {
                self.run_credentials(line);
            }
            ["cargo", "run", "--example", "git_server", "--", options @ ..] => {
                let mut command = Command::new(&*PROGRAM);
                command.args(options).args(["--store", &self.store(), "--listen", "127.0.0.1:0"]);
                command.arg("--repositories").arg(self.world.repository(""));
                self.server = Some(self.world.start(command.args(["--admin", "127.0.0.1:0"])));
            }
            ["export", variables @ ..] => {
                assert!(variables.contains(&"AWS_ENDPOINT_URL=http://127.0.0.1:8081"));
            }
            ["aws", "iam", command, options @ ..] => self.run_aws(command, options),
            ["git", arguments @ ..] => self.run_git(arguments),
            _ => panic!("{line:?}"),
        }
    }

    fn run_credentials(&mut self, line: &[&str]) {
        let mut tool = Command::new(example("credentials"));
        let run = tool.args(["--store", &self.store()]).args(line).output().unwrap();
        assert!(run.status.success(), "{line:?}: {}", err(&run));
        if line[0] == "create" {
            let password = String::from_utf8(run.stdout).unwrap();
            self.passwords.push(password.trim_end().to_owned());
            self.id = self.world.iam().list(&name("anika")).unwrap()[0].id().to_string();
        }
    }

    /// Sends the request that the AWS CLI sends.
    fn run_aws(&mut self, command: &str, options: &[&str]) {
        let option = |pair: &[&str]| {
            let name = pair[0].strip_prefix("--").unwrap();
            (camel_case(name), pair[1].replace(ID, &self.id))
        };
        let options: Vec<_> = options.chunks(2).map(option).collect();
        let options: Vec<_> = options.iter().map(|(name, value)| (&**name, &**value)).collect();
        let response = self.server().admin(&camel_case(command), &options);
        assert_eq!(status(&response), 200, "{command}: {response}");
        if command == "create-service-specific-credential" {
            self.passwords.push(element(&response, "ServicePassword").to_owned());
        }
    }

    /// Runs `git` in the work tree. Each push has a new commit.
    fn run_git(&mut self, arguments: &[&str]) {
        if arguments[0] == "push" {
            self.pushes += 1;
            self.world.commit("work", "news", self.pushes.to_string().as_bytes());
        }
        let address = self.server().address.to_string();
        let with_address = |word: &&str| word.replace("127.0.0.1:8080", &address);
        let arguments: Vec<_> = arguments.iter().map(with_address).collect();
        let arguments: Vec<_> = arguments.iter().map(|word| &**word).collect();
        let mut git = self.world.git("work", &arguments);
        let run = git.env("GIT_ASKPASS", self.askpass()).output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {}", err(&run));
        if arguments[0] == "push" {
            let received = self.world.head(self.world.repository("demo.git"), "main");
            assert_eq!(received, self.world.head("work", "HEAD"));
        }
    }

    /// Writes a program for `GIT_ASKPASS`, which prints the password of the user in Git's prompt.
    fn askpass(&self) -> PathBuf {
        let path = self.world.folder.file("askpass");
        let (first, second) = (&self.passwords[0], self.passwords.get(1).map_or("", |one| one));
        let script = format!("case $1 in *2-at-*) echo '{second}';; *) echo '{first}';; esac");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Whether the first credential still authenticates.
    fn first_still_works(&self) -> bool {
        let url = self.server().url("anika+1-at-123456789012", &self.passwords[0], "demo");
        self.world.git("work", &["ls-remote", &url]).output().unwrap().status.success()
    }
}

/// `CreateServiceSpecificCredential`, from `create-service-specific-credential`.
fn camel_case(words: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    words.split('-').map(capital).collect()
}

#[test]
fn the_readme_changes_a_password_without_interruption() {
    let mut runner = Runner::new();
    let mut steps = Vec::new();
    for line in
        commands_of(["\n## From nothing\n", "\n## Changing a password without interruption\n"])
    {
        runner.run(&line);
        // The command, and whether the first credential still works after it.
        let step = match line[..] {
            ["cargo" | "export", ..] => continue,
            ["aws", "iam", command, ..] => command.split('-').next().unwrap().to_owned(),
            ["git", command, ..] => command.to_owned(),
            _ => panic!("{line:?}"),
        };
        // The repository does not exist before the first push.
        if runner.pushes > 0 {
            steps.push((step, runner.first_still_works()));
        }
    }
    let expected = [
        ("push", true),
        ("create", true),
        ("remote", true),
        ("fetch", true),
        ("list", true),
        ("update", false),
        ("push", false),
        ("delete", false),
        ("push", false),
    ];
    assert_eq!(steps, expected.map(|(step, works)| (step.to_owned(), works)));
    assert!(runner.world.log().contains("reason=\"inactive\""));
    assert!(runner.world.log().contains("reason=\"unknown-name\""));
}
