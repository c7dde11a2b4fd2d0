import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as OutputFile from "../src/OutputFile.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vko-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const codeOf = <A, E extends { readonly code: string }>(effect: Effect.Effect<A, E>) =>
  Effect.match(effect, { onFailure: ({ code }) => code, onSuccess: () => "ok" })

const content = Buffer.from("sealed")

describe("an output file", () => {
  it.effect("is written whole, for its owner alone, with nothing beside it", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "a.age")
      yield* OutputFile.check(path, false)
      yield* OutputFile.write(path, content, false)
      assert.strictEqual(readFileSync(path, "utf8"), "sealed")
      assert.strictEqual(lstatSync(path).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["a.age"])
    })))

  it.effect("is not overwritten unless that is asked for, also when it came between the check and the write", () =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* directory, "a.age")
      yield* OutputFile.check(path, false)
      writeFileSync(path, "theirs", { mode: 0o644 })
      assert.strictEqual(yield* codeOf(OutputFile.write(path, content, false)), "output_exists")
      assert.strictEqual(readFileSync(path, "utf8"), "theirs")
      assert.strictEqual(yield* codeOf(OutputFile.check(path, false)), "output_exists")
      yield* OutputFile.check(path, true)
      yield* OutputFile.write(path, content, true)
      assert.strictEqual(readFileSync(path, "utf8"), "sealed")
      assert.strictEqual(lstatSync(path).mode & 0o777, 0o600)
      assert.deepStrictEqual(readdirSync(join(path, "..")), ["a.age"])
    })))

  it.effect("is a plain file in a directory that is there: no link, no device, no terminal", () =>
    Effect.scoped(Effect.gen(function*() {
      const home = yield* directory
      const link = join(home, "link")
      symlinkSync(join(home, "target"), link)
      for (const path of [link, home, "/dev/null", join(home, "no", "where.age")]) {
        assert.strictEqual(yield* codeOf(OutputFile.check(path, true)), "output_not_written", path)
      }
      assert.strictEqual(yield* codeOf(OutputFile.write(join(home, "no", "x"), content, false)), "output_not_written")
      assert.isFalse(existsSync(join(home, "target")))
    })))
})
