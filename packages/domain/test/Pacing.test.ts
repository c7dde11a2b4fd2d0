import { assert, describe, it } from "@effect/vitest"
import {
  capOf,
  cooldown,
  decideAdmission,
  decideAnswer,
  type EndpointAnswer,
  type EndpointState,
  healthy,
  longestPause,
  threshold
} from "@valetkey/domain/Pacing"
import { Duration } from "effect"
import fc from "fast-check"

const lease = Duration.seconds(45)

const answer: fc.Arbitrary<EndpointAnswer> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<EndpointAnswer>({ _tag: "Silent" }) },
  fc.constant<EndpointAnswer>({ _tag: "Answered" }),
  fc.constant<EndpointAnswer>({ _tag: "Abandoned" }),
  // Short pauses: a long one would be all that the rest of a history shows.
  fc.nat({ max: 20 }).map((seconds): EndpointAnswer => ({ _tag: "Asked", delay: Duration.seconds(seconds) }))
)

type Step =
  | { readonly do: "ask" }
  | { readonly do: "hear"; readonly answer: EndpointAnswer }
  | { readonly do: "pass"; readonly seconds: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.constant<Step>({ do: "ask" }) },
  answer.map((answer): Step => ({ do: "hear", answer })),
  fc.nat({ max: 90 }).map((seconds): Step => ({ do: "pass", seconds }))
)

/** Plays a history and hands every step with the state before and after it to the check. */
const play = (
  steps: ReadonlyArray<Step>,
  check: (step: Step, before: EndpointState, after: EndpointState, now: number) => void
) => {
  let state = healthy
  let now = 1_000_000
  for (const step of steps) {
    const before = state
    if (step.do === "pass") now += step.seconds * 1000
    if (step.do === "ask") state = decideAdmission(state, { lease, now }).next ?? state
    if (step.do === "hear") state = decideAnswer(state, { answer: step.answer, now })
    check(step, before, state, now)
  }
  return { state, now }
}

const history = fc.array(step, { maxLength: 80, size: "max" })

describe("the state of a token endpoint", () => {
  it("lets one probe at a time, and nobody else, while the circuit is open", () => {
    fc.assert(fc.property(history, (steps) => {
      let probeEnds = 0
      play(steps, (step, before, _, now) => {
        if (step.do === "hear") probeEnds = 0
        if (step.do !== "ask") return
        const { admission } = decideAdmission(before, { lease, now })
        if (before.failures >= threshold) assert.notStrictEqual(admission._tag, "Go")
        if (admission._tag === "Probe") {
          assert.isAtMost(probeEnds, now)
          assert.isAtMost(before.openUntil, now)
          probeEnds = now + Duration.toMillis(lease)
        }
      })
    }))
  })

  it("keeps nobody waiting for ever: whatever has happened, somebody may ask within an hour", () => {
    fc.assert(fc.property(history, (steps) => {
      const { now, state } = play(steps, () => {})
      const { admission } = decideAdmission(state, { lease, now: now + Duration.toMillis(longestPause) })
      assert.notStrictEqual(admission._tag, "Wait")
    }))
  })

  it("closes with one answer, and honours what the endpoint asked for", () => {
    fc.assert(fc.property(history, fc.nat({ max: 7200 }), (steps, seconds) => {
      const { now, state } = play(steps, () => {})
      const closed = decideAnswer(state, { answer: { _tag: "Answered" }, now })
      assert.strictEqual(closed.failures, 0)
      assert.strictEqual(
        decideAdmission(closed, { lease, now: Math.max(now, closed.notBefore) }).admission._tag,
        "Go"
      )
      const asked = decideAnswer(state, { answer: { _tag: "Asked", delay: Duration.seconds(seconds) }, now })
      const until = now + Math.min(seconds, Duration.toSeconds(longestPause)) * 1000
      assert.strictEqual(asked.notBefore, Math.max(until, state.notBefore))
      if (until > now) assert.strictEqual(decideAdmission(asked, { lease, now }).admission._tag, "Wait")
    }))
  })

  it("says how long to wait, and never longer than that", () => {
    fc.assert(fc.property(history, (steps) => {
      play(steps, (_, __, after, now) => {
        const { admission } = decideAdmission(after, { lease, now })
        if (admission._tag !== "Wait") return
        assert.isAbove(Duration.toMillis(admission.remaining), 0)
        assert.isAtMost(Duration.toMillis(admission.remaining), Duration.toMillis(longestPause))
      })
    }))
  })

  it("opens for longer each time, up to a minute, and not for what comes late from before it opened", () => {
    let [state, now] = [healthy, 0]
    const waits: Array<number> = []
    for (let times = 0; times < threshold; times++) state = decideAnswer(state, { answer: { _tag: "Silent" }, now })
    for (let round = 0; round < 8; round++) {
      const late = decideAnswer(state, { answer: { _tag: "Silent" }, now })
      assert.strictEqual(late.openUntil, state.openUntil)
      waits.push((state.openUntil - now) / 1000)
      now = state.openUntil
      const { admission, next } = decideAdmission(state, { lease, now })
      assert.strictEqual(admission._tag, "Probe")
      state = decideAnswer(next!, { answer: { _tag: "Silent" }, now })
    }
    assert.deepStrictEqual(waits, [4, 8, 16, 32, 60, 60, 60, 60])
    assert.strictEqual(Duration.toSeconds(cooldown(1_000_000)), 60)
  })

  it("opens for no longer when the clock was set back since the last failure", () => {
    const silent = { _tag: "Silent" } as const
    let state = healthy
    for (let times = 1; times < threshold; times++) {
      state = decideAnswer(state, { answer: silent, now: Duration.toMillis("2 days") })
    }
    const now = Duration.toMillis("1 day")
    assert.strictEqual(decideAnswer(state, { answer: silent, now }).openUntil, now + Duration.toMillis(cooldown(0)))
  })
})

describe("a cap", () => {
  const caps = [
    { endpoint: "https://as.example", cap: 10 },
    { endpoint: "https://as.example/tenant/token", cap: 2 },
    { endpoint: "https://other.example/", cap: 3 }
  ]

  it("is that of the endpoint, else that of its origin, and of nothing that only looks like it", () => {
    const of = (endpoint: string) => capOf(caps, endpoint)?.cap
    assert.strictEqual(of("https://as.example/tenant/token"), 2)
    assert.strictEqual(of("https://as.example/token"), 10)
    assert.strictEqual(of("https://other.example/token"), 3)
    for (
      const unknown of [
        "https://as.example.evil.example/token",
        "http://as.example/token",
        "https://as.example:444/token",
        "https://evil.example/https://as.example"
      ]
    ) assert.isUndefined(of(unknown), unknown)
  })
})
