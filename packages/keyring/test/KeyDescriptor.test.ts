import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Redacted, Result, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { execFile, spawn } from "node:child_process"
import { closeSync, constants, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as KeyDescriptor from "../src/KeyDescriptor.ts"

const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "valetkey-descriptor-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const file = Effect.fnUntraced(function*(content: string | Uint8Array) {
  const path = join(yield* directory, "keys")
  writeFileSync(path, content, { mode: 0o600 })
  return openSync(path, "r")
})

const read = (claimed: KeyDescriptor.KeyDescriptor) => Effect.result(claimed.read)
const problemOf = (result: Result.Result<Redacted.Redacted, KeyDescriptor.KeyDescriptorError>) =>
  Result.isFailure(result) ? result.failure.problem : "read"
const isOpen = (descriptor: number) => {
  try {
    return fstatSync(descriptor).isFile() || true
  } catch {
    return false
  }
}

const script = `const{Effect,Redacted,Result}=await import("effect");const k=await import(${
  JSON.stringify(import.meta.resolve("../src/KeyDescriptor.ts"))
});const r=await Effect.runPromise(Effect.result(k.claim(Number(process.argv[1])).read));
process.stdout.write(Result.isSuccess(r)?"read "+Redacted.value(r.success):r.failure.problem)`

/** Runs the reader in a process that a shell started. */
const shell = (command: string) =>
  Effect.callback<string>((resume) => {
    const env = { ...process.env, NODE: process.execPath, SCRIPT: script }
    execFile("bash", ["-c", command], { cwd: import.meta.dirname, env }, (_, stdout) => resume(Effect.succeed(stdout)))
  })
const reader = (descriptor: number) => `"$NODE" --input-type=module -e "$SCRIPT" ${descriptor}`

describe("KeyDescriptor", () => {
  it.effect("reads what is left of a file, once, and closes it", () =>
    Effect.gen(function*() {
      const descriptor = yield* file("1:key\n")
      const text = Result.getOrThrow(yield* read(KeyDescriptor.claim(descriptor)))
      assert.strictEqual(Redacted.value(text), "1:key\n")
      assert.isFalse(isOpen(descriptor))
    }))

  it.live("CRY-19 reads what a shell hands over: a file, a here-document and the pipe of a command", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "keys")
      writeFileSync(path, "1:from-file", { mode: 0o600 })
      assert.strictEqual(yield* shell(`${reader(3)} 3<${path}`), "read 1:from-file")
      assert.strictEqual(yield* shell(`${reader(9)} 9<<<1:here`), "read 1:here\n")
      assert.strictEqual(yield* shell(`${reader(3)} 3< <(printf 1:; printf piped)`), "read 1:piped")
    }))

  it.live("refuses input, output and log, what is not open, and what the runtime opened for itself", () =>
    Effect.gen(function*() {
      for (const standard of [0, 1, 2]) {
        const problem = problemOf(yield* read(KeyDescriptor.claim(standard)))
        assert.strictEqual(problem, "standard")
        assert.isTrue(isOpen(standard))
      }
      assert.strictEqual(problemOf(yield* read(KeyDescriptor.claim(1023))), "not_open")
      // Without the redirection these numbers are the runtime's own: its event loop, its signals.
      for (const own of [3, 5, 6, 7, 8]) {
        assert.include(["not_a_file", "not_open"], yield* shell(reader(own)), String(own))
      }
      assert.strictEqual(yield* shell(`${reader(3)} 3</`), "not_a_file")
      assert.strictEqual(yield* shell(`${reader(3)} 3>${join(yield* directory, "out")}`), "io")
    }))

  it.live("leaves a descriptor alone that became another one since the start", () =>
    Effect.gen(function*() {
      const first = yield* file("1:key")
      const claimed = KeyDescriptor.claim(first)
      closeSync(first)
      // The lowest free number is taken, as by whatever a process opens next.
      const second = yield* file("the database")
      assert.strictEqual(second, first)
      assert.strictEqual(problemOf(yield* read(claimed)), "exchanged")
      assert.isTrue(isOpen(second))
      closeSync(second)
      assert.strictEqual(problemOf(yield* read(claimed)), "exchanged")
    }))

  it.live("reads 64 KiB at most, of a file and of a pipe, and closes what holds more", () =>
    Effect.gen(function*() {
      const most = "k".repeat(64 * 1024)
      const fits = yield* read(KeyDescriptor.claim(yield* file(most)))
      assert.strictEqual(Redacted.value(Result.getOrThrow(fits)), most)
      const larger = yield* file(`${most}k`)
      assert.strictEqual(problemOf(yield* read(KeyDescriptor.claim(larger))), "too_large")
      assert.isFalse(isOpen(larger))
      assert.strictEqual(yield* shell(`${reader(3)} 3< <(head -c 65537 /dev/zero)`), "too_large")
    }))

  it.effect("waits five seconds for the writer of a pipe, not longer", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "fifo")
      yield* Effect.callback<void>((resume) => void execFile("mkfifo", [path], () => resume(Effect.void)))
      const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
      const writer = spawn("bash", ["-c", `exec 4>${path}; printf 1:half >&4; echo open; read -r`], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      yield* Effect.callback<void>((resume) => void writer.stdout.once("data", () => resume(Effect.void)))
      const reading = yield* Effect.forkChild(read(KeyDescriptor.claim(descriptor)))
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      while (reading.pollUnsafe() === undefined) yield* Effect.andThen(turn, TestClock.adjust("100 millis"))
      assert.strictEqual(problemOf(yield* Fiber.join(reading)), "late")
      assert.isAtLeast(yield* Clock.currentTimeMillis, 5000)
      assert.isFalse(isOpen(descriptor))
      writer.stdin.end()
      yield* Effect.callback<void>((resume) => void writer.once("close", () => resume(Effect.void)))
    }))

  it.effect("names the setting and quotes nothing in an error", () =>
    Effect.gen(function*() {
      const failed = yield* read(KeyDescriptor.claim(yield* file(`CANARY${"k".repeat(70_000)}`)))
      const error = Result.isFailure(failed) ? failed.failure : assert.fail("it was read")
      assert.match(error.message, /^VALETKEY_KEYS_FD: /)
      assert.strictEqual(error.code, "invalid_key_descriptor")
      assert.notInclude(`${error.message}${JSON.stringify(error)}`, "CANARY")
    }))
})
