import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openDatabase, type Session } from "../src/internal/openDatabase.ts"

const full = 2
const normal = 1

const database = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "valetkey-sqlite-"))),
    (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
  )
  return yield* openDatabase(join(directory, "light.db"), ["CREATE TABLE one (value INTEGER) STRICT;"])
})

const syncs = (session: Session) => session.one<{ readonly synchronous: number }>("PRAGMA synchronous")?.synchronous
const count = (session: Session) => session.one<{ readonly count: number }>("SELECT count(*) AS count FROM one")?.count
const insert = (session: Session) => session.run("INSERT INTO one VALUES (1)")

describe("a light write", () => {
  it.effect("waits for no disk, and every write after it does", () =>
    Effect.gen(function*() {
      const { read, write, writeLightly } = yield* database
      const during = yield* writeLightly("light", (session) => {
        insert(session)
        return syncs(session)
      })
      assert.strictEqual(during, normal)
      assert.strictEqual(yield* write("whole", syncs), full)
      assert.strictEqual(yield* read("read", count), 1)
    }).pipe(Effect.scoped))

  it.effect("that fails leaves nothing behind, and every write after it waits for the disk", () =>
    Effect.gen(function*() {
      const { read, write, writeLightly } = yield* database
      yield* Effect.flip(writeLightly("light", (session) => {
        insert(session)
        session.run("INSERT INTO nowhere VALUES (1)")
      }))
      assert.strictEqual(yield* write("whole", syncs), full)
      assert.strictEqual(yield* read("read", count), 0)
    }).pipe(Effect.scoped))
})
