import { assert, describe, it } from "@effect/vitest"
import { locate } from "@valetkey/client/Home"
import * as Canary from "@valetkey/testing/Canary"
import * as CanaryScan from "@valetkey/testing/CanaryScan"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Command from "../demo/Command.ts"
import * as Person from "../demo/Person.ts"
import * as Daemon from "./Daemon.ts"
import * as Evidence from "./Evidence.ts"
import * as TemporaryDirectory from "./TemporaryDirectory.ts"

/** An opener that writes down what it was given besides the URL. */
const writingBrowser = (directory: string, browser: string): string => {
  const path = join(directory, "writing-browser")
  const source = [
    `#!${process.execPath}`,
    `require("node:fs").appendFileSync(${JSON.stringify(join(directory, "environ"))}, JSON.stringify(process.env))`,
    `require("node:child_process").spawnSync(${JSON.stringify(browser)}, [process.argv[2]])`
  ]
  writeFileSync(path, source.join("\n"), { mode: 0o700 })
  return path
}

/** Where a browser ends, as a person copies it. */
const addressOfAnswer = (): string =>
  `http://127.0.0.1:1/cb/x?code=${Canary.makeText("code")}&state=${Canary.makeText("state")}`

/** Command lines with a secret where none belongs. */
const misplaced = (): ReadonlyArray<ReadonlyArray<string>> => {
  const code = Canary.makeText("code")
  const address = addressOfAnswer()
  return [
    ["callback", "id", address],
    ["callback", address],
    ["callback", "id", `--address=${address}`],
    [address],
    ["audit", address],
    ["status", address],
    ["status", `--${code}`],
    ["connect", "notes", "--transport", address],
    ["connect", "notes", `--replace=${code}`],
    ["history", "notes", "--limit", code]
  ]
}

describe("the command and the server that it starts", () => {
  it.live(
    "I12 LEAK-06 LEAK-13 DAEM-07 keep secrets out of output, arguments, environments, log and files",
    () =>
      Effect.gen(function*() {
        const evidence = Evidence.make()
        const directory = yield* TemporaryDirectory.make
        const home = join(directory, "home")
        yield* Daemon.contain(home)
        const provider = yield* FakeProvider.make({ rotation: "rotate-revoke-family" })
        const person = yield* Person.make({ directory, chromium: false })
        const env = Command.environment(directory, {
          VALETKEY_HOME: home,
          VALETKEY_LOG_LEVEL: "debug",
          VALETKEY_TOKEN: Canary.makeText("caller_token"),
          BROWSER: writingBrowser(directory, person.browser)
        })
        const server = randomBytes(20).toString("hex")

        /** Runs a command; `secret` is the text that it hands out, as its contract says. */
        const run = Effect.fnUntraced(function*(
          args: ReadonlyArray<string>,
          code = 0,
          secret = (_: string): string | undefined => undefined
        ) {
          const finished = yield* Command.valetkey(args, { env })
          const handed = secret(finished.stdout)
          evidence.record("stderr", finished.stderr)
          evidence.record("stdout", handed === undefined ? finished.stdout : finished.stdout.replaceAll(handed, ""))
          assert.strictEqual(finished.code, code, `${args.join(" ")}: ${finished.stderr}${finished.stdout}`)
          return finished
        })
        const connect = (code: number, ...flags: ReadonlyArray<string>) =>
          Effect.flatMap(
            Person.during(person, run(["connect", provider.resource, "--name", server, ...flags], code)),
            ([, page]) => Effect.sync(() => evidence.record("html", page))
          )
        const whole = (stdout: string) => stdout.trim()
        const member = (stdout: string) => (JSON.parse(stdout) as { readonly accessToken: string }).accessToken

        provider.behaviour.consent = { error: "access_denied" }
        yield* connect(1)
        provider.behaviour.consent = "approve"
        provider.script("token", [({ send }) =>
          Effect.suspend(() =>
            send({
              status: 400,
              headers: { "content-type": "text/html" },
              body: provider.requests("token").at(-1)!.body
            })
          )])
        yield* connect(1, "--json")
        yield* connect(0, "--json")

        const locations = locate(env)
        Canary.register("boot_token", readFileSync(locations.token, "utf8").trim())
        Canary.register("root_key", /[A-Za-z0-9+/]{43}=/.exec(readFileSync(locations.keys, "utf8"))?.[0] ?? "")
        const [daemon] = Daemon.of(home)
        evidence.record("argv", daemon?.argv ?? "")
        evidence.record("environ", daemon?.environ ?? "")
        evidence.record("environ", readFileSync(join(directory, "environ")))

        assert.isTrue(provider.isActive((yield* run(["token", server], 0, whole)).stdout.trim()))
        yield* run(["token", server, "--json"], 0, member)
        yield* run(["exec", server, "--", process.execPath, "-p", "1"])
        yield* run(["list", "--json"])
        yield* run(["status", server, "--json"])
        yield* run(["doctor", "--json"])
        yield* run(["token", "nobody"], 1)
        yield* run(["--json", "callback", "id", addressOfAnswer()], 2)
        for (const line of misplaced()) yield* run(line, 2)

        yield* run(["disconnect", server])
        yield* run(["token", server, "--json"], 1)
        evidence.recordFiles("database while it is open", home, [locations.keys, locations.token])
        yield* Daemon.stop(home)
        evidence.record("log", readFileSync(locations.log))
        evidence.recordFiles("database", home, [locations.keys])

        for (const { url } of provider.requests("authorization")) {
          Canary.register("state", url.searchParams.get("state") ?? "")
        }
        for (const { form } of provider.requests("token")) {
          Canary.register("code_verifier", form.get("code_verifier") ?? "")
        }
        assert.strictEqual(CanaryScan.format(evidence.findings()), "")
        const planted = new Set(evidence.findings([{ kind: "planted", unique: server }]).map(({ source }) => source))
        assert.includeMembers([...planted], ["database", "database while it is open", "stderr", "stdout"])
        for (const source of ["argv", "environ", "html", "log"]) {
          assert.isAbove(evidence.size()[source] ?? 0, 10, source)
        }
      }),
    40_000
  )
})
