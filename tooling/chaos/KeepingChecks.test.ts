import { assert, describe, it } from "@effect/vitest"
import type { Call, Change, Fault } from "./History.ts"
import { add, broken, call, change, deposit, type Draft, kill, redemption } from "./PlantedHistory.ts"

// The ids of guarantees stand in no title here: what these tests prove is the checker.
describe("the checker of what is kept", () => {
  it("finds a rotation that was received while the store was away and not stored when it was back", () => {
    const line = (of: Partial<Fault> = {}): Fault => ({
      what: "store line",
      from: 61_900,
      to: 66_000,
      replica: 1,
      ...of
    })
    /** The second redemption is answered under faults, and whoever takes over has the person asked. */
    const cut = (faults: ReadonlyArray<Fault>, plant: (history: Draft) => void = () => {}) =>
      broken((history) => {
        const lost = ({ at, connection }: Change | Call) => connection === 1 && at > 61_000
        history.faults = faults
        history.redemptions = history.redemptions.filter(({ token }) => token !== "R3")
        add("redemptions", redemption({ at: 80_000, token: "R2", outcome: "refused" }))(history)
        history.changes = history.changes.filter((one) => !lost(one))
        add("changes", change({ at: 80_010, generation: 2, status: "needs_reauth", reason: "unknown_outcome" }))(
          history
        )
        history.calls = history.calls.filter((one) => !lost(one))
        add("calls", call({ at: 122_000, status: 409 }))(history)
        plant(history)
      })
    assert.deepStrictEqual(cut([line()]), ["I3"])
    assert.deepStrictEqual(cut([line({ what: "database crash", replica: undefined })]), ["I3"])
    // It goes in order: what it spooled is stored after the restart.
    assert.deepStrictEqual(cut([line(), line({ what: "term", from: 62_500, to: 68_000 })]), ["I3"])
    // Who is killed soon may have had no time to spool it; later, its spool has it.
    assert.deepStrictEqual(cut([line(), kill(63_000, 65_000, 1)]), [])
    assert.deepStrictEqual(cut([line(), kill(64_000, 65_000, 1)]), ["I3"])
    // What it took over from was killed before it was marked; who is killed later could have stored it for long.
    assert.deepStrictEqual(cut([line(), kill(60_000, 61_500, 1)]), ["I3"])
    assert.deepStrictEqual(cut([line(), kill(90_000, 91_000, 1)]), ["I3"])
    assert.deepStrictEqual(cut([line(), kill(64_000, 65_000, 2)]), ["I3"])
    // Nobody knows whether these received it.
    assert.deepStrictEqual(cut([line(), line({ what: "provider line", to: 62_500 })]), [])
    assert.deepStrictEqual(cut([line(), line({ what: "pause", to: 62_500 })]), [])
    // The store is away until shortly before the end.
    assert.deepStrictEqual(cut([line({ to: 110_000 })]), [])
    // What happens to it later takes from its time, here until the end of the run.
    assert.deepStrictEqual(cut([line(), line({ what: "pause", from: 80_000, to: 118_000 })]), [])
    assert.deepStrictEqual(cut([line(), line({ what: "pause", from: 80_000, to: 90_000 })]), ["I3"])
    assert.deepStrictEqual(cut([line()], add("deeds", { ...deposit({ at: 70_000 }), done: false })), [])
    const adopted = (at: number, of: Partial<Change> = {}) => (history: Draft) => {
      add("marks", { at: 61_990, connection: 1, epoch: "e1", generation: 2, replica: 1 })(history)
      add("changes", change({ at, generation: 3, ...of }))(history)
      history.redemptions = history.redemptions.map((one) => ({ ...one, expiresAt: 300_000 }))
      history.calls = history.calls.map((one) =>
        one.status === 409 ? call({ at: one.at, token: "A2", generation: 3 }) : one
      )
    }
    assert.deepStrictEqual(cut([line()], adopted(83_000)), [])
    assert.deepStrictEqual(cut([line()], adopted(85_000)), ["I3"])
    assert.include(cut([line()], adopted(83_000, { epoch: "e2", generation: 3 })), "I3")
    // Nothing happened, but somebody sent it again all the same.
    assert.deepStrictEqual(cut([]), ["I1", "I3", "I5"])
  })
})
