import { assert, describe, it } from "@effect/vitest"
import type { Fault, Mark } from "./History.ts"
import { add, broken, call, change, deposit, type Draft, kill, redemption } from "./PlantedHistory.ts"
import { forgetful, garbage } from "./ProviderPlans.ts"
import { timing } from "./Timing.ts"

// The ids of guarantees stand in no title here: what these tests prove is the checker.
describe("the checker of chaos histories", () => {
  it("finds nothing in a sound history", () => {
    assert.deepStrictEqual(broken(() => {}), [])
  })

  const again = redemption({ at: 70_000, token: "R2", outcome: "refused" })

  it("finds a refresh token that was sent again although its outcome was known", () => {
    assert.deepStrictEqual(broken(add("redemptions", again)), ["I1"])
  })

  it("accepts a second attempt after a kill of who sent the first, and no third", () => {
    const killed = add("faults", kill(62_001, 63_000, 1))
    assert.deepStrictEqual(
      broken((history) => {
        killed(history)
        add("redemptions", again)(history)
      }),
      []
    )
    assert.deepStrictEqual(
      broken((history) => {
        killed(history)
        add("redemptions", again, { ...again, at: 80_000 })(history)
      }),
      ["I1"]
    )
    // Somebody else's death excuses nothing.
    assert.deepStrictEqual(
      broken((history) => {
        add("faults", kill(62_001, 63_000, 2))(history)
        add("redemptions", again)(history)
      }),
      ["I1"]
    )
  })

  it("finds the second arrival of a strict token under any fault, and counts none that was turned away", () => {
    const strict = (history: Draft) => {
      history.subjects = history.subjects.map((subject) => ({ ...subject, policy: "strict" }))
      history.faults = [kill(62_001, 63_000)]
    }
    assert.deepStrictEqual(
      broken((history) => {
        strict(history)
        add("redemptions", again)(history)
      }),
      ["I1"]
    )
    assert.deepStrictEqual(
      broken((history) => {
        strict(history)
        add("redemptions", { ...again, plan: "busy", outcome: "turned_away" })(history)
      }),
      []
    )
  })

  it("counts no refusal by a page before anything was redeemed, and the one after a lost answer", () => {
    const page = redemption({ at: 61_000, token: "R2", plan: garbage, outcome: "refused" })
    const strictly = (...pages: ReadonlyArray<typeof page>) => (history: Draft) => {
      history.subjects = history.subjects.map((subject) => ({ ...subject, policy: "strict" }))
      add("redemptions", ...pages)(history)
    }
    assert.deepStrictEqual(broken(strictly(page, { ...page, at: 61_500 })), [])
    // Somebody took over when the lease was over: nobody had recorded what the page said.
    assert.deepStrictEqual(broken(strictly({ ...page, at: 62_000 - timing.lease })), ["I1"])
    assert.deepStrictEqual(
      broken((history) => {
        add("faults", kill(62_001, 63_000, 1))(history)
        add("redemptions", { ...page, at: 70_000 }, { ...page, at: 80_000 })(history)
      }),
      ["I1"]
    )
  })

  it("finds a rotation that a living process received and nobody redeems", () => {
    const lost = (history: Draft) => {
      history.redemptions = history.redemptions.map((one) =>
        one.refreshToken === "R3" ? { ...one, refreshToken: "R9" } : one
      )
    }
    assert.deepStrictEqual(broken(lost), ["I3"])
    assert.deepStrictEqual(
      broken((history) => {
        lost(history)
        add("faults", kill(62_004, 63_000, 1))(history)
      }),
      []
    )
  })

  it("finds a rotation that was received and not stored, whatever became of the connection later", () => {
    const unstored = (history: Draft) => {
      history.changes = history.changes.filter(({ generation }) => generation !== 3)
    }
    assert.include(broken(unstored), "I3")
    assert.include(
      broken((history) => {
        unstored(history)
        add("changes", change({ at: 90_000, generation: 2, status: "needs_reauth", reason: "account_changed" }))(
          history
        )
        add("deeds", deposit({ at: 100_000 }))(history)
      }),
      "I3"
    )
    // A consent in the middle of it voids the result.
    assert.notInclude(
      broken((history) => {
        unstored(history)
        add("deeds", deposit({ at: 62_005 }))(history)
      }),
      "I3"
    )
    // One commit stores one result.
    assert.deepStrictEqual(
      broken(
        add(
          "redemptions",
          redemption({ at: 61_000, token: "R7", accessToken: "A7", refreshToken: "R2", expiresAt: 162_000 })
        )
      ),
      ["I3"]
    )
  })

  it("finds a generation that jumps, one that goes back, and a life that nobody began", () => {
    assert.deepStrictEqual(broken(add("changes", change({ at: 123_000, generation: 6 }))), ["I4"])
    assert.deepStrictEqual(broken(add("changes", change({ at: 123_000, generation: 3 }))), ["I4"])
    assert.deepStrictEqual(broken(add("changes", change({ at: 123_000, epoch: "e2" }))), ["I4"])
  })

  const newer = (history: Draft) => {
    add("grants", { id: 3, connection: 1, refreshToken: "S1", accessToken: "", at: 64_000 })(history)
    add("deeds", deposit({ at: 64_000, grant: 3 }))(history)
    add("changes", change({ at: 64_005, epoch: "e2", generation: 8 }))(history)
    add("changes", change({ at: 64_510, epoch: "e2", generation: 9 }))(history)
    add("redemptions", redemption({ at: 64_500, token: "S1", grant: 3, accessToken: "C1", refreshToken: "R3" }))(
      history
    )
    history.calls = history.calls.filter(({ token }) => token !== "A3")
    add("calls", call({ at: 122_500, token: "C1", generation: 9 }))(history)
  }

  it("finds a token of an older consent after a newer one", () => {
    assert.deepStrictEqual(broken(newer), [])
    assert.deepStrictEqual(
      broken((history) => {
        newer(history)
        add("calls", call({ at: 65_000, token: "A2", generation: 3 }))(history)
      }),
      ["I4"]
    )
  })

  it("finds a person asked to consent although nothing was lost and nothing withdrawn", () => {
    const asked = (reason: string) => change({ at: 123_000, generation: 4, status: "needs_reauth", reason })
    assert.deepStrictEqual(broken(add("changes", asked("unknown_outcome"))), ["I5"])
    assert.deepStrictEqual(broken(add("changes", asked("refresh_token_rejected"))), ["I5"])
    assert.deepStrictEqual(
      broken((history) => {
        add("changes", asked("unknown_outcome"))(history)
        // One attempt of unknown outcome and one that vanished with its process.
        add(
          "redemptions",
          redemption({ at: 122_500, token: "R4", outcome: "nothing", plan: "hang", answered: undefined })
        )(
          history
        )
        add("faults", kill(122_900, 122_950, 0))(history)
        add("marks", { at: 122_880, connection: 1, epoch: "e1", generation: 4, replica: 0 })(history)
      }),
      []
    )
    assert.deepStrictEqual(
      broken((history) => {
        history.grants = history.grants.map((grant) => grant.id === 1 ? { ...grant, revokedAt: 122_400 } : grant)
        add("redemptions", redemption({ at: 122_500, token: "R4", outcome: "refused" }))(history)
        add("changes", asked("refresh_token_rejected"))(history)
      }),
      []
    )
  })

  it("finds a person asked for an attempt that nobody marked, or that nothing kept from arriving", () => {
    const vanished = (mark: Partial<Mark>, faults: ReadonlyArray<Fault>) =>
      broken((history) => {
        history.subjects = history.subjects.map((subject) => ({ ...subject, policy: "strict" }))
        add("changes", change({ at: 150_000, generation: 4, status: "needs_reauth", reason: "unknown_outcome" }))(
          history
        )
        add("marks", { at: 130_000, connection: 1, epoch: "e1", generation: 4, replica: 0, ...mark })(history)
        add("faults", ...faults)(history)
      })
    const mine = kill(130_100, 131_000, 0)
    assert.deepStrictEqual(vanished({}, [mine]), [])
    assert.deepStrictEqual(vanished({}, []), ["I5"])
    assert.deepStrictEqual(vanished({}, [{ ...mine, replica: 2 }]), ["I5"])
    assert.deepStrictEqual(vanished({}, [{ ...mine, from: 140_000, to: 141_000 }]), ["I5"])
    assert.deepStrictEqual(vanished({ generation: 3 }, [mine]), ["I5"])
    assert.deepStrictEqual(vanished({ epoch: "e0" }, [mine]), ["I5"])
    assert.deepStrictEqual(vanished({ connection: 2 }, [mine]), ["I5"])
  })

  it("finds an older generation after a newer one, and two tokens of one generation", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 64_000, token: "A2", generation: 2 }))), ["I20"])
    add("redemptions")
    assert.deepStrictEqual(
      broken((history) => {
        history.redemptions = history.redemptions.map((one) =>
          one.accessToken === "A2" ? { ...one, answered: undefined, plan: "hang" } : one
        )
        add(
          "redemptions",
          redemption({ at: 62_500, token: "R2", accessToken: "A9", refreshToken: "R9", expiresAt: 162_500 })
        )(history)
        add("calls", call({ at: 63_500, token: "A9", generation: 3 }))(history)
      }),
      ["I20"]
    )
  })

  it("finds a replica that serves nobody after a fault, and a connection that stays unserved", () => {
    const silent = (history: Draft) => {
      add("faults", kill(64_000, 65_000, 1))(history)
      add("calls", ...[66_000, 70_000, 85_000].map((at) => call({ at, replica: 1 })))(history)
    }
    assert.deepStrictEqual(broken(silent), ["I21"])
    const also = (...plants: ReadonlyArray<(history: Draft) => void>) =>
      broken((history) => [silent, ...plants].forEach((plant) => plant(history)))
    const served = (at: number) => add("calls", call({ at, token: "A2", generation: 3, replica: 1 }))
    assert.deepStrictEqual(also(served(66_000), served(75_000)), [])
    // In the end is too late, and so is it for who was hit by another fault for a part of that time only.
    assert.deepStrictEqual(also(served(86_000)), ["I21"])
    assert.deepStrictEqual(also(add("faults", kill(67_000, 67_500, 1))), ["I21"])
    assert.deepStrictEqual(also(add("faults", kill(67_000, 84_000, 1))), [])
    assert.deepStrictEqual(also(add("faults", kill(67_000, 84_000, 0))), ["I21"])
    // Who is asked for nothing but a connection whose provider forgot the access token can serve nobody; who is asked for others can.
    const forgot = (history: Draft) => {
      history.redemptions = history.redemptions.map((one) => one.token === "R2" ? { ...one, plan: forgetful } : one)
    }
    const elsewhere = [66_100, 70_100, 85_100].map((at) => call({ at, replica: 1, connection: 2 }))
    assert.deepStrictEqual(also(forgot), [])
    assert.deepStrictEqual(also(forgot, add("calls", ...elsewhere)), ["I21"])
    assert.deepStrictEqual(
      broken((history) => {
        history.calls = history.calls.filter(({ connection }) => connection === 1)
      }),
      ["I21"]
    )
  })

  it("finds a token after a disconnect", () => {
    const ended = (history: Draft) => {
      add("deeds", deposit({ at: 64_000, what: "disconnect", grant: undefined }))(history)
      add("changes", change({ at: 64_005, epoch: "e2", generation: 3, status: "revoking" }))(history)
      history.changes = history.changes.filter(({ at, epoch }) => at < 64_000 || epoch === "e2")
    }
    assert.deepStrictEqual(
      broken((history) => {
        ended(history)
        history.calls = history.calls.filter(({ token }) => token !== "A3")
        add("calls", call({ at: 122_000, status: 404 }))(history)
      }),
      []
    )
    assert.include(broken(ended), "I23")
  })
})
