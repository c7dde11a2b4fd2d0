import { assert, describe, it } from "@effect/vitest"
import * as Canary from "@valetkey/testing/Canary"
import { Effect, type Scope } from "effect"
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import * as Valetkey from "./support/Valetkey.ts"

/** Counts who connects to a socket. */
const listenAt = (path: string): Effect.Effect<{ readonly connections: () => number }, never, Scope.Scope> =>
  Effect.gen(function*() {
    let count = 0
    const server: Server = createServer((socket) => {
      count++
      socket.destroy()
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        server.listen(path, () => resume(Effect.void))
      }),
      () => Effect.sync(() => server.close())
    )
    return { connections: () => count }
  })

describe("the local server", () => {
  it.live("S2.30 S2.33 DAEM-11 is not replaced by anything when it cannot be reached: exit 3 with the socket that was tried", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { browser } = valetkey
      for (
        const args of [["list"], ["status"], ["status", "x"], ["servers", "list"], ["connect", "x", "--no-start"], [
          "token",
          "x",
          "--no-start"
        ]]
      ) {
        const ended = yield* valetkey.run(args, { BROWSER: browser.path })
        assert.strictEqual(ended.code, 3, args.join(" "))
        assert.strictEqual(ended.stdout, "")
        assert.include(ended.stderr, valetkey.home.socket)
        assert.include(ended.stderr, "Is it running?")
      }
      assert.strictEqual(valetkey.serverPid, undefined)
      assert.deepStrictEqual(browser.opened(), [])
    })))

  it.live("S2.30 does not start one when a database is configured", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.run(["token", "x"], { DATABASE_URL: "postgres://localhost/x" })
      assert.strictEqual(ended.code, 3)
      assert.isFalse(existsSync(valetkey.home.data))
    })))

  it.live("S2x.7 does not start with a public URL that nothing listens for, and doctor says so too", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const env = { VALETKEY_PUBLIC_URL: "https://valetkey.example" }
      const { code, error } = yield* valetkey.json(["connect", "https://x.example", "--transport", "gateway"], env)
      assert.deepStrictEqual([code, error.code], [1, "listener_missing"])
      assert.match(error.message, /VALETKEY_PUBLIC_URL leads nowhere.+VALETKEY_PUBLIC_LISTEN.+VALETKEY_LISTEN/)
      assert.isUndefined(valetkey.serverPid)
      const found = /public URL: set VALETKEY_PUBLIC_LISTEN.+ VALETKEY_LISTEN/
      assert.match((yield* valetkey.run(["doctor"], env)).stdout, found)
      for (const name of ["VALETKEY_LISTEN", "VALETKEY_PUBLIC_LISTEN"]) {
        assert.notMatch((yield* valetkey.run(["doctor"], { ...env, [name]: "127.0.0.1:1" })).stdout, found)
      }
    })))

  it.live("keeps what the one before wrote to its log, and puts a long log aside", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const { log } = valetkey.home
      const aside = `${log}.1`
      yield* valetkey.run(["servers", "add", "x", "https://x.example"])
      yield* valetkey.stop("SIGKILL")
      const first = readFileSync(log, "utf8")
      assert.include(first, "ready")
      yield* valetkey.run(["connect", "x", "--no-browser"])
      yield* valetkey.stop()
      const both = readFileSync(log, "utf8")
      assert.isTrue(both.startsWith(first), both)
      assert.include(both.slice(first.length), "draining")
      assert.isFalse(existsSync(aside))

      const long = `${both}${"a line of a long life\n".repeat(60_000)}`
      writeFileSync(log, long)
      yield* valetkey.run(["connect", "x", "--no-browser"])
      assert.strictEqual(readFileSync(aside, "utf8"), long)
      assert.notInclude(readFileSync(log, "utf8"), "long life")
      for (const path of [log, aside]) assert.strictEqual(lstatSync(path).mode & 0o077, 0)
    })))

  it.live("DAEM-01 DAEM-15 is made with files that nobody else can open", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.run(["servers", "add", "x", "https://x.example"])
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(ended.stderr, "Starting the Valetkey server")
      const { home } = valetkey
      for (const path of [home.data, home.config, home.run]) {
        assert.strictEqual(lstatSync(path).mode & 0o777, 0o700, path)
      }
      for (const path of [home.socket, home.token, home.keys, home.instance, home.database, home.log, home.pid]) {
        assert.strictEqual(lstatSync(path).mode & 0o777, 0o600, path)
      }
      Canary.register("boot_token", readFileSync(home.token, "utf8").trim())
    })))

  it.live("DAEM-03 two commands that start it at once end with one server, and both succeed", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* Effect.all(
        ["a", "b"].map((name) => valetkey.run(["servers", "add", name, "https://x.example"])),
        { concurrency: "unbounded" }
      )
      for (const { code, stderr } of ended) assert.strictEqual(code, 0, stderr)
      const servers = yield* valetkey.json(["servers", "list"])
      assert.lengthOf(servers.document["servers"] as Array<unknown>, 2)
      assert.isDefined(valetkey.serverPid)
    })))

  it.live("DAEM-03 DAEM-17 a second server leaves with store_locked and exit code 1; the first goes on", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      yield* valetkey.serve()
      const second = yield* valetkey.json(["serve"])
      assert.strictEqual(second.code, 1)
      assert.strictEqual(second.error.code, "store_locked")
      const told = yield* valetkey.run(["serve"])
      assert.strictEqual(told.code, 1)
      assert.include(told.stderr, "in use by another process")
      assert.strictEqual((yield* valetkey.json(["list"])).code, 0)
    })))

  it.live("DAEM-03 starts again over the socket that a killed server left", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const first = yield* valetkey.serve()
      first.signal("SIGKILL")
      yield* first.ended
      assert.isTrue(existsSync(valetkey.home.socket))
      assert.strictEqual((yield* valetkey.json(["servers", "add", "x", "https://x.example"])).code, 0)
      assert.notStrictEqual(valetkey.serverPid, first.pid)
    })))

  it.live("DAEM-02 sends no byte through a socket or directory that could be somebody else's", () =>
    Effect.scoped(Effect.gen(function*() {
      const linked = yield* Valetkey.make
      mkdirSync(linked.home.run, { recursive: true, mode: 0o700 })
      const elsewhere = join(linked.home.data, "elsewhere.sock")
      const trap = yield* listenAt(elsewhere)
      symlinkSync(elsewhere, linked.home.socket)
      writeFileSync(linked.home.token, "t\n", { mode: 0o600 })

      const open = yield* Valetkey.make
      mkdirSync(open.home.run, { recursive: true, mode: 0o700 })
      writeFileSync(open.home.token, "t\n", { mode: 0o600 })
      const second = yield* listenAt(open.home.socket)
      chmodSync(open.home.run, 0o777)

      for (const valetkey of [linked, open]) {
        for (const args of [["list"], ["token", "x"], ["connect", "x"]]) {
          const ended = yield* valetkey.json(args)
          assert.strictEqual(ended.code, 3, args.join(" "))
          assert.strictEqual(ended.error.code, "server_unreachable")
          assert.include(ended.error.message, "belong to you")
        }
      }
      assert.strictEqual(trap.connections() + second.connections(), 0)
    })))

  it.live("DAEM-02 DAEM-15 refuses to serve from a directory that others used", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      mkdirSync(valetkey.home.data, { recursive: true })
      writeFileSync(join(valetkey.home.data, "note"), "hello")
      chmodSync(valetkey.home.data, 0o755)
      const ended = yield* valetkey.json(["serve"])
      assert.strictEqual(ended.code, 1)
      assert.strictEqual(ended.error.code, "home_not_private")
    })))

  it.live("DAEM-20 says so when the path of the socket is too long", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.json(["serve"], { VALETKEY_HOME: join(valetkey.home.data, "d".repeat(100)) })
      assert.strictEqual(ended.code, 1)
      assert.strictEqual(ended.error.code, "socket_path_too_long")
    })))

  it.live("surfaces why it did not start: the variable and not its value", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const ended = yield* valetkey.json(["token", "x"], { VALETKEY_FLOW_TTL: "hunter2" })
      assert.strictEqual(ended.code, 1)
      assert.strictEqual(ended.error.code, "setting_invalid")
      assert.include(ended.error.message, "VALETKEY_FLOW_TTL")
      assert.notInclude(ended.stdout + ended.stderr, "hunter2")
    })))

  it.live("exits with 0 on SIGTERM and takes socket and token along", () =>
    Effect.scoped(Effect.gen(function*() {
      const valetkey = yield* Valetkey.make
      const running = yield* valetkey.serve()
      running.signal("SIGTERM")
      assert.strictEqual((yield* running.ended).code, 0)
      for (const path of [valetkey.home.socket, valetkey.home.token, valetkey.home.pid]) {
        assert.isFalse(existsSync(path))
      }
    })))
})
