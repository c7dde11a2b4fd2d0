import { assert, describe, it } from "@effect/vitest"
import { judge } from "./Checker.ts"
import type { Call, Change, Deed, Fault, History, Mark, Redemption } from "./History.ts"

type Draft = { -readonly [Key in keyof History]: History[Key] }

const redemption = (of: Partial<Redemption> & Pick<Redemption, "at" | "token">): Redemption => ({
  grant: 1,
  replica: 0,
  plan: "honest",
  outcome: "issued",
  answered: of.at + 5,
  ...of
})

const call = (of: Partial<Call> & Pick<Call, "at">): Call => ({
  end: of.at + 10,
  connection: 1,
  replica: 0,
  status: of.token === undefined ? 503 : 200,
  retryAfter: of.token === undefined,
  ...of
})

const change = (of: Partial<Change> & Pick<Change, "at">): Change => ({
  connection: 1,
  epoch: "e1",
  generation: 1,
  status: "active",
  reason: undefined,
  ...of
})

const deposit = (of: Partial<Deed> & Pick<Deed, "at">): Deed => ({
  what: "deposit",
  end: of.at + 10,
  connection: 1,
  grant: 1,
  done: true,
  ...of
})

/** Two connections; the first is deposited, refreshed twice, and refreshed once more when everything is healed. */
const sound = (): Draft => ({
  subjects: [1, 2].map((id) => ({
    id,
    tenant: `t${id}`,
    subject: "s",
    server: `c${id}`,
    policy: "retry-once",
    mode: "refuse",
    lifetimeSeconds: 100
  })),
  grants: [
    { id: 1, connection: 1, refreshToken: "R1", accessToken: "A0", at: 900 },
    { id: 2, connection: 2, refreshToken: "Q1", accessToken: "B0", at: 900 }
  ],
  redemptions: [
    redemption({ at: 2000, token: "R1", accessToken: "A1", refreshToken: "R2", expiresAt: 102_000 }),
    redemption({ at: 62_000, token: "R2", accessToken: "A2", refreshToken: "R3", expiresAt: 162_000, replica: 1 }),
    redemption({ at: 122_000, token: "R3", accessToken: "A3", refreshToken: "R4", expiresAt: 222_000 }),
    redemption({ at: 2100, token: "Q1", grant: 2, accessToken: "B1", refreshToken: "Q2", expiresAt: 102_100 }),
    redemption({ at: 122_100, token: "Q2", grant: 2, accessToken: "B2", refreshToken: "Q3", expiresAt: 222_000 })
  ],
  calls: [
    call({ at: 1990, end: 2020, token: "A1", generation: 2 }),
    call({ at: 3000, token: "A1", generation: 2, replica: 1 }),
    call({ at: 61_990, end: 62_020, token: "A2", generation: 3, replica: 1, rejected: "A1" }),
    call({ at: 63_000, token: "A2", generation: 3 }),
    call({ at: 121_990, end: 122_030, token: "A3", generation: 4, rejected: "A2" }),
    call({ at: 122_100, end: 122_120, token: "B2", generation: 3, connection: 2 })
  ],
  deeds: [deposit({ at: 1000 }), deposit({ at: 1000, connection: 2, grant: 2 })],
  changes: [
    change({ at: 1005 }),
    change({ at: 2010, generation: 2 }),
    change({ at: 62_010, generation: 3 }),
    change({ at: 122_010, generation: 4 }),
    change({ at: 1005, connection: 2 }),
    change({ at: 2110, connection: 2, generation: 2 })
  ],
  marks: [],
  faults: [],
  exits: [],
  rest: [{ connection: 1, phase: "idle" }],
  log: {},
  skew: 0,
  healedAt: 121_000
})

/** The guarantees that the checker finds broken. */
const broken = (plant: (history: Draft) => void): ReadonlyArray<string> => {
  const history = sound()
  plant(history)
  return [...new Set(judge(history).flatMap(({ violations }) => violations.map(({ id }) => id)))]
}

const add =
  <Key extends "redemptions" | "calls" | "deeds" | "changes" | "marks" | "faults" | "exits" | "rest" | "grants">(
    key: Key,
    ...values: ReadonlyArray<History[Key][number]>
  ) =>
  (history: Draft): void => {
    history[key] = [...history[key], ...values] as never
  }

const kill = (from: number, to: number, replica?: number): Fault => ({ what: "kill", from, to, replica })

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
    assert.deepStrictEqual(cut([line(), kill(64_000, 65_000, 1)]), [])
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

  it("finds a stale token, the rejected one, and one that another caller had rejected", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 61_000, token: "A1", generation: 2, replica: 1 }))), ["I6"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 4000, token: "A1", generation: 2, rejected: "A1" }))), ["I6"])
    const late = (history: Draft) => add("calls", call({ at: 61_000, token: "A1", generation: 2, replica: 1 }))(history)
    assert.deepStrictEqual(
      broken((history) => {
        late(history)
        add("redemptions", redemption({ at: 60_000, token: "R2", plan: "busy", outcome: "turned_away" }))(history)
      }),
      []
    )
    // Two lifetimes later, and after A1 was rejected.
    assert.include(broken(add("calls", call({ at: 63_500, token: "A1", generation: 3 }))), "I6")
  })

  it("finds a call that took too long and a row that stayed under way", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, end: 43_000, token: "A1", generation: 2 }))), ["I7"])
    assert.deepStrictEqual(
      broken((history) => {
        add("calls", call({ at: 3000, end: 43_000, token: "A1", generation: 2 }))(history)
        add("faults", { what: "pause", from: 3100, to: 35_000, replica: 0 })(history)
      }),
      []
    )
    assert.deepStrictEqual(broken(add("rest", { connection: 1, phase: "sent" })), ["I7"])
  })

  it("finds a token of somebody else, and one that nobody issued", () => {
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, token: "B1", generation: 2 }))), ["I10"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, token: "X", generation: 2 }))), ["I10"])
  })

  it("finds a call without an answer, a wrong answer, and a drain that ends badly", () => {
    const unanswered = call({ at: 3000, status: 0 })
    assert.deepStrictEqual(broken(add("calls", unanswered)), ["I19"])
    assert.deepStrictEqual(broken(add("calls", { ...unanswered, missed: "socket hang up", phase: "kept" })), ["I19"])
    assert.deepStrictEqual(broken(add("calls", { ...unanswered, missed: "connect ECONNREFUSED 127.0.0.1:1" })), [])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, status: 500 }))), ["I19"])
    assert.deepStrictEqual(broken(add("calls", call({ at: 3000, retryAfter: false }))), ["I19"])
    assert.deepStrictEqual(broken(add("exits", { at: 1, end: 2, replica: 0, code: "SIGABRT" })), ["I19"])
  })

  it("finds a call that was dropped after a replica had read it or its connection was accepted, and that no kill ended", () => {
    const dropped = (how: Partial<Call>, what: string, from = 2500) =>
      broken((history) => {
        add("calls", call({ at: 3000, status: 0, missed: "socket hang up", ...how }))(history)
        add("faults", { what, from, to: 4000, replica: 0 })(history)
      })
    const unread: Partial<Call> = { phase: "kept", taken: false }
    assert.deepStrictEqual(dropped(unread, "term"), [])
    assert.deepStrictEqual(dropped({ phase: "connect", taken: false }, "term"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", taken: true }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "kept" }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "new", taken: false }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "answer", taken: true }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "late", taken: true }, "term"), ["I19"])
    // Before the signal no connection is ended, and after the restart there is another process.
    assert.deepStrictEqual(dropped(unread, "term", 3500), ["I19"])
    assert.deepStrictEqual(dropped({ ...unread, at: 4500, end: 4510 }, "term"), ["I19"])
    assert.deepStrictEqual(dropped({ ...unread, at: 4500, end: 4510 }, "kill"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "answer", taken: true }, "kill"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", taken: true }, "store line"), ["I19"])
    assert.deepStrictEqual(dropped({ phase: "late", taken: true }, "starved"), [])
    assert.deepStrictEqual(dropped({ phase: "kept", taken: true }, "starved"), ["I19"])
  })

  it("says what the log has about a wrong answer", () => {
    const history = sound()
    history.log = { c1: ["replica 0: request failed"] }
    add("calls", call({ at: 3000, status: 500, correlation: "c1" }))(history)
    const [violation] = judge(history).flatMap(({ violations }) => violations)
    assert.deepStrictEqual(violation?.log, ["replica 0: request failed"])
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
    assert.deepStrictEqual(
      broken((history) => {
        history.calls = history.calls.filter(({ connection }) => connection === 1)
      }),
      ["I21"]
    )
  })

  it("finds a caller who is refused what the row has, and one who is told of another state than the row's", () => {
    const told = (status: number, of: Partial<Call> = {}, ...changes: ReadonlyArray<Change>) =>
      broken((history) => {
        add("calls", call({ at: 64_000, status, retryAfter: false, ...of }))(history)
        add("changes", ...changes)(history)
        history.changes = history.changes.toSorted((a, b) => a.at - b.at)
      })
    assert.deepStrictEqual(told(409, { code: "reauthorization_required" }), ["I5"])
    assert.deepStrictEqual(told(404, { code: "connection_not_found" }), ["I20"])
    const row = (at: number, status: string) => change({ at, status, generation: 3 })
    const gone = [row(63_000, "revoking"), row(63_900, "active")]
    assert.deepStrictEqual(told(404, {}, ...gone), [])
    assert.deepStrictEqual(told(404, { code: "not_found" }, ...gone), ["I20"])
    assert.deepStrictEqual(told(409, {}, ...gone), ["I5"])
    // The row came back long before, or changed only afterwards.
    assert.deepStrictEqual(told(404, { at: 70_000, end: 70_010 }, ...gone), ["I20"])
    assert.deepStrictEqual(told(404, { at: 62_900, end: 62_910 }, ...gone), ["I20"])
    // Nobody saw that it was back before the person was told so.
    const deed = { ...deposit({ at: 63_800 }), end: 69_000 }
    assert.deepStrictEqual(
      broken((history) => {
        add("deeds", deed)(history)
        add("calls", call({ at: 68_500, status: 404 }), call({ at: 900, status: 404 }))(history)
        history.changes = [...history.changes, ...gone].toSorted((a, b) => a.at - b.at)
      }),
      []
    )
    assert.deepStrictEqual(
      broken((history) => {
        history.grants = history.grants.map((grant) => grant.id === 1 ? { ...grant, revokedAt: 121_500 } : grant)
        history.redemptions = history.redemptions.map((one) =>
          one.token === "R3" ? redemption({ at: one.at, token: "R3", outcome: "refused" }) : one
        )
        history.changes = history.changes.map((one) =>
          one.generation === 4 ? { ...row(one.at, "needs_reauth"), reason: "refresh_token_rejected" } : one
        )
        history.calls = history.calls.map((one) =>
          one.token === "A3" ? { ...one, status: 409, token: undefined, generation: undefined } : one
        )
      }),
      []
    )
    // Everybody in the end, although nothing is wrong.
    assert.deepStrictEqual(
      broken((history) => {
        history.calls = history.calls.map((one) =>
          one.at < 121_000 ? one : { ...one, status: 409, token: undefined, generation: undefined }
        )
      }),
      ["I5"]
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
