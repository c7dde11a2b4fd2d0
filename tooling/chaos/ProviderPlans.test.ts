import { assert, describe, it } from "@effect/vitest"
import type { Redemption } from "./History.ts"
import { add, broken, call, change, type Draft, redemption } from "./PlantedHistory.ts"
import { draw, forgetful, gateway } from "./ProviderPlans.ts"
import * as Random from "./Random.ts"

const alter = (token: string, of: Partial<Redemption>) => (history: Draft): void => {
  history.redemptions = history.redemptions.map((one) => one.token === token ? { ...one, ...of } : one)
}

const both = (...plants: ReadonlyArray<(history: Draft) => void>) =>
  broken((history) => plants.forEach((plant) => plant(history)))

describe("the plans of a provider", () => {
  it("are drawn, those that last for a minute only where they may", () => {
    const drawn = (mayLast: boolean) => {
      const random = Random.make(7)
      return new Set(Array.from({ length: 2000 }, () => draw(random, 1, mayLast).name))
    }
    assert.include(drawn(true), forgetful)
    assert.notInclude(drawn(false), forgetful)
    assert.include(drawn(false), gateway)
  })
})

describe("the checker, where a gateway answers in place of a provider that has redeemed", () => {
  /** R4 was used up behind the gateway; what is sent next is refused, and the person is asked. */
  const lost = (history: Draft) =>
    add("redemptions", redemption({ at: 122_500, token: "R4", plan: gateway, accessToken: "A4", refreshToken: "R5" }))(
      history
    )
  const refused = (at = 124_600) => add("redemptions", redemption({ at, token: "R4", outcome: "refused" }))
  const asked = (reason: string) =>
    add("changes", change({ at: 124_610, generation: 4, status: "needs_reauth", reason }))

  it("accepts that the refresh token leaves again, and that the person is asked where that is refused", () => {
    assert.deepStrictEqual(both(lost, refused(), asked("refresh_token_rejected")), [])
    const again = { at: 124_600, accessToken: "A6", refreshToken: "R6", expiresAt: 300_000 }
    assert.deepStrictEqual(both(lost, add("redemptions", redemption({ ...again, token: "R4" }))), [])
    // A provider that says so twice.
    assert.deepStrictEqual(both(lost, lost, refused(), asked("refresh_token_rejected")), [])
  })

  it("finds one that leaves once more after it was refused, and a person who is asked for nothing else than the 502", () => {
    assert.deepStrictEqual(both(lost, refused(), refused(126_700)), ["I1"])
    assert.deepStrictEqual(both(lost, asked("refresh_token_rejected")), ["I5"])
    assert.deepStrictEqual(both(lost, asked("unknown_outcome")), ["I5"])
    // The refusal came before the 502, and is of another cause.
    assert.include(both(refused(122_100), lost, asked("refresh_token_rejected")), "I5")
  })
})

describe("the checker, where a provider forgets the access token", () => {
  const without = { plan: forgetful, accessToken: undefined }
  const unheard = (history: Draft) => {
    history.calls = history.calls.filter(({ token }) => token !== "A2").map((one) => ({ ...one, rejected: undefined }))
  }

  it("has the refresh token of it stored and redeemed next, and the one before not sent again", () => {
    assert.deepStrictEqual(both(alter("R2", without), unheard), [])
    assert.deepStrictEqual(
      both(
        alter("R2", without),
        unheard,
        add("redemptions", redemption({ at: 70_000, token: "R2", outcome: "refused" }))
      ),
      ["I1"]
    )
    assert.include(
      both(alter("R2", without), unheard, (history) => {
        history.changes = history.changes.filter(({ generation }) => generation !== 3)
      }),
      "I3"
    )
    assert.deepStrictEqual(both(alter("R2", { ...without, refreshToken: "R9" }), unheard), ["I3"])
  })

  it("finds that nothing is handed out as a token", () => {
    assert.deepStrictEqual(
      both(alter("R2", without), unheard, add("calls", call({ at: 63_000, token: "", generation: 3 }))),
      ["I10"]
    )
  })
})

describe("the checker, where no answer names a lifetime", () => {
  const silent = (history: Draft) => {
    history.subjects = history.subjects.map((subject) =>
      subject.id === 1 ? { ...subject, lifetimeSeconds: undefined } : subject
    )
    history.redemptions = history.redemptions.map((one) => one.grant === 1 ? { ...one, expiresAt: undefined } : one)
  }

  it("finds a refresh that nobody gave a reason for, or gave it too late", () => {
    assert.deepStrictEqual(both(silent), [])
    const unrejected = (history: Draft) => {
      history.calls = history.calls.map((one) => one.rejected === "A1" ? { ...one, rejected: undefined } : one)
    }
    assert.deepStrictEqual(both(silent, unrejected), ["I6"])
    assert.deepStrictEqual(both(silent, unrejected, add("calls", call({ at: 62_400, rejected: "A1" }))), ["I6"])
    assert.deepStrictEqual(both(unrejected), [])
    // There was nothing to reject.
    assert.deepStrictEqual(
      both(silent, unrejected, alter("R1", { plan: forgetful, accessToken: undefined }), (history) => {
        history.calls = history.calls.filter(({ token }) => token !== "A1")
      }),
      []
    )
  })
})
