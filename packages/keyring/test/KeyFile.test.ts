import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result } from "effect"
import { execFile, spawn } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as KeyFile from "../src/KeyFile.ts"
import * as KeyRing from "../src/KeyRing.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-keyfile-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const problemOf = <A>(effect: Effect.Effect<A, KeyFile.KeyFileError>) =>
  Effect.map(Effect.flip(effect), ({ problem }) => problem)

describe("readOrCreate", () => {
  it.effect("makes a private file with one random key, and reads the same key ever after", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "config", "valetkey", "keys")
      const first = yield* KeyFile.readOrCreate(path)
      const second = yield* KeyFile.readOrCreate(path)
      assert.strictEqual(Redacted.value(first), Redacted.value(second))
      assert.isTrue(Result.isSuccess(KeyRing.parse(first)))
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.strictEqual(statSync(join(path, "..")).mode & 0o777, 0o700)
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["keys"])
    }))

  it.effect("keeps the modes under any umask", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "d", "keys")
      const script = `process.umask(0);const{Effect}=await import("effect");const k=await import(${
        JSON.stringify(import.meta.resolve("../src/KeyFile.ts"))
      });await Effect.runPromise(k.readOrCreate(process.argv[1]))`
      yield* Effect.callback<void>((resume) => {
        execFile(process.execPath, ["--input-type=module", "-e", script, path], { cwd: import.meta.dirname }, (error) =>
          resume(error === null ? Effect.void : Effect.die(error)))
      })
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.strictEqual(statSync(join(path, "..")).mode & 0o777, 0o700)
    }))

  it.live("ends with one key when several processes race", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "race", "keys")
      // Every child says that it is ready, and starts when its input closes.
      const script = `const{Effect,Redacted}=await import("effect");const k=await import(${
        JSON.stringify(import.meta.resolve("../src/KeyFile.ts"))
      });process.stdout.write("r");process.stdin.on("end",()=>Effect.runPromise(k.readOrCreate(process.argv[1])).then(
      (s)=>process.stdout.write(Redacted.value(s)),(e)=>process.stdout.write(e.message))).resume()`
      const children = Array.from({ length: 4 }, () =>
        spawn(process.execPath, ["--input-type=module", "-e", script, path], {
          cwd: import.meta.dirname,
          stdio: ["pipe", "pipe", "inherit"]
        }))
      const outputs = children.map(() =>
        ""
      )
      yield* Effect.forEach(children, (child, index) =>
        Effect.callback<void>((resume) =>
          void child.stdout.on("data", (data: Buffer) => {
            outputs[index] += data.toString()
            resume(Effect.void)
          })
        ), { concurrency: "unbounded" })
      yield* Effect.forEach(children, (child) =>
        Effect.callback<void>((resume) => {
          child.on("close", () =>
            resume(Effect.void))
          child.stdin.end()
        }), { concurrency: "unbounded" })
      const there = readFileSync(path, "utf8")
      assert.deepStrictEqual(
        outputs,
        outputs.map(() =>
          `r${there}`
        )
      )
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["keys"])
    }))

  it.effect("ends with one key when fibers race", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "keys")
      const keys = yield* Effect.all(Array.from({ length: 16 }, () => KeyFile.readOrCreate(path)), { concurrency: 16 })
      assert.strictEqual(new Set(keys.map(Redacted.value)).size, 1)
    }))
})

describe("read", () => {
  it.effect("refuses a file that others can read or write", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "keys")
      yield* KeyFile.readOrCreate(path)
      for (const mode of [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o666, 0o610]) {
        chmodSync(path, mode)
        assert.strictEqual(yield* problemOf(KeyFile.read(path)), "loose_mode")
        assert.strictEqual(yield* problemOf(KeyFile.readOrCreate(path)), "loose_mode")
        assert.strictEqual(statSync(path).mode & 0o777, mode)
      }
      chmodSync(path, 0o600)
      yield* KeyFile.read(path)
    }))

  it.effect("refuses a symbolic link, dangling or not, a directory and a FIFO", () =>
    Effect.gen(function*() {
      const base = yield* directory
      const real = join(base, "real")
      yield* KeyFile.readOrCreate(real)
      symlinkSync(real, join(base, "link"))
      symlinkSync(join(base, "nowhere"), join(base, "dangling"))
      mkdirSync(join(base, "folder"), { mode: 0o700 })
      yield* Effect.callback<void>((resume) =>
        void execFile("mkfifo", ["-m", "600", join(base, "fifo")], () => resume(Effect.void))
      )
      for (const name of ["link", "dangling", "folder", "fifo"]) {
        assert.strictEqual(yield* problemOf(KeyFile.readOrCreate(join(base, name))), "not_a_file", name)
      }
      assert.isFalse(readdirSync(base).includes("nowhere"))
    }))

  it.effect("refuses a directory in which others can replace the file", () =>
    Effect.gen(function*() {
      const base = yield* directory
      yield* KeyFile.readOrCreate(join(base, "keys"))
      for (const mode of [0o770, 0o707, 0o777, 0o1777]) {
        chmodSync(base, mode)
        assert.strictEqual(yield* problemOf(KeyFile.read(join(base, "keys"))), "loose_directory")
        assert.strictEqual(yield* problemOf(KeyFile.readOrCreate(join(base, "other"))), "loose_directory")
      }
      chmodSync(base, 0o755)
      yield* KeyFile.read(join(base, "keys"))
    }))

  it.effect("tells a missing file and makes none", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "keys")
      const error = yield* Effect.flip(KeyFile.read(path))
      assert.strictEqual(error.code, "encryption_key_missing")
      assert.throws(() => statSync(path))
    }))

  it.effect("quotes nothing of the file in an error", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "keys")
      writeFileSync(path, "CANARY", { mode: 0o644 })
      const error = yield* Effect.flip(KeyFile.read(path))
      assert.notInclude(error.message + JSON.stringify(error), "CANARY")
    }))
})
