import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { archiveIn, holder, secretFile } from "./support/Archives.ts"
import * as StubServer from "./support/StubServer.ts"
import * as Valetkey from "./support/Valetkey.ts"

describe("bad input", () => {
  it.live("I25 is told by a code of its own, before anything is sent or written", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { file, recipient } = yield* holder(valetkey)
      const directory = dirname(valetkey.home.data)
      const loose = secretFile(valetkey, "loose", "a long enough passphrase")
      chmodSync(loose, 0o644)
      const short = secretFile(valetkey, "short", "short")
      const noKey = secretFile(valetkey, "nokey", "AGE-SECRET-KEY-1NONE")
      const prose = secretFile(valetkey, "prose", "this is no key")
      const taken = secretFile(valetkey, "taken.age", "something")
      const json = secretFile(
        valetkey,
        "plain.json",
        "{\"format\":\"valetkey.archive\",\"version\":1,\"connections\":[]}"
      )
      const large = secretFile(valetkey, "large", "x".repeat(8 * 1024 * 1024 + 1))
      const out = join(directory, "new.age")
      const cases: ReadonlyArray<readonly [ReadonlyArray<string>, number, string]> = [
        [["export", "--out", out], 2, "usage"],
        [["export", "--out", out, "--recipient", recipient, "--passphrase-stdin"], 2, "usage"],
        [["export", "--recipient", recipient], 2, "usage"],
        [["export", "--out", taken, "--recipient", recipient], 1, "output_exists"],
        [["export", "--out", "/dev/null", "--force", "--recipient", recipient], 1, "output_not_written"],
        [["export", "--out", join(directory, "no", "x"), "--recipient", recipient], 1, "output_not_written"],
        [["export", "--out", out, "--passphrase-file", loose], 1, "secret_not_private"],
        [["export", "--out", out, "--passphrase-file", short], 1, "passphrase_short"],
        [["export", "--out", out, "--passphrase-file", join(directory, "never")], 1, "secret_unreadable"],
        [["import", json], 2, "usage"],
        [["import", json, json, "--identity-file", file], 2, "usage"],
        [["import", json, "--format", "json", "--identity-file", file], 2, "usage"],
        [["import", "-", "--passphrase-stdin"], 2, "usage"],
        [["import", json, "--identity-file", file], 1, "archive_unknown"],
        [["import", json, "--format", "json"], 1, "archive_empty"],
        [["import", large, "--identity-file", file], 1, "archive_too_large"],
        [["import", join(directory, "never"), "--identity-file", file], 1, "archive_unreadable"],
        [["import", json, "--identity-file", loose], 1, "secret_not_private"],
        [["import", json, "--identity-file", prose], 1, "identity_invalid"],
        [["import", json, "--identity-file", noKey], 1, "identity_invalid"]
      ]
      for (const [args, code, error] of cases) {
        const ended = yield* valetkey.json(args)
        assert.deepStrictEqual([ended.code, ended.error.code], [code, error], `${args.join(" ")}: ${ended.stderr}`)
      }
      assert.isUndefined(valetkey.serverPid)
      assert.isFalse(existsSync(out))
      assert.strictEqual(readFileSync(taken, "utf8"), "something")

      for (
        const [args, error] of [
          [
            ["export", "--out", out, "--recipient", `${recipient.slice(0, -1)}${recipient.endsWith("q") ? "p" : "q"}`],
            "nothing_to_export"
          ],
          [["export", "--out", out, "--recipient", recipient], "nothing_to_export"],
          [["export", "never", "--out", out, "--recipient", recipient], "connection_not_found"],
          [["export", "--out", out, "--recipient", "ssh-ed25519"], "invalid_request"]
        ] as const
      ) {
        const ended = yield* valetkey.json(args)
        assert.deepStrictEqual([ended.code, ended.error.code], [1, error], args.join(" "))
      }
      assert.isFalse(existsSync(out))
    })))

  it.live("writes nothing that is not sealed, whatever a server answers", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const out = archiveIn(valetkey)
      const { recipient } = yield* holder(valetkey)
      const archive = Buffer.from("{\"format\":\"valetkey.archive\"}").toString("base64")
      yield* StubServer.make(valetkey, () => ({ body: { archive, connections: [], left: [] } }))
      const ended = yield* valetkey.json(["export", "--out", out, "--recipient", recipient])
      assert.deepStrictEqual([ended.code, ended.error.code], [1, "output_not_written"])
      assert.isFalse(existsSync(out))
    })))

  it.live("loads age for an import and for no other command", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const directory = dirname(valetkey.home.data)
      const log = join(directory, "loaded")
      const hook = secretFile(
        valetkey,
        "hook.cjs",
        `process.on("exit", () => require("node:fs").appendFileSync(${
          JSON.stringify(log)
        }, Object.keys(require.cache).join("\\n") + "\\n"))`
      )
      const { file } = yield* holder(valetkey)
      const json = secretFile(valetkey, "plain.json", "{}")
      const loads = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
        writeFileSync(log, "")
        yield* valetkey.run([...args, "--no-start"], { NODE_OPTIONS: `--require ${hook}` })
        const files = readFileSync(log, "utf8").split("\n").filter((path) => path.endsWith(".cjs") && path !== hook)
        assert.isNotEmpty(files)
        return files.some((path) => readFileSync(path, "utf8").includes("age-encryption.org/v1/X25519"))
      })
      assert.isTrue(yield* loads("import", json, "--identity-file", file))
      for (
        const args of [["token", "x"], ["list"], ["export", "--out", join(directory, "x"), "--passphrase-file", json]]
      ) {
        assert.isFalse(yield* loads(...args), args.join(" "))
      }
    })))
})
