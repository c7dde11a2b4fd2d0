import { assert, describe, it } from "@effect/vitest"
import { FlowFailure, FlowState } from "@valetkey/domain/Flow"
import { FlowLanguages } from "@valetkey/domain/FlowTexts"
import { Cause, Effect, Exit, Layer } from "effect"
import * as Languages from "../src/Languages.ts"
import { misplaced, type PageTexts } from "../src/PageTexts.ts"
import { caller } from "./Caller.ts"
import { answerPath, leave } from "./Consent.ts"
import { layer } from "./Harness.ts"
import { type Answer, Http, send } from "./Http.ts"
import { Script } from "./Script.ts"

const [english, german] = Languages.builtIn

const inGerman = { "accept-language": "de-AT,de;q=0.9,en;q=0.8" }

/** Every sentence of a catalogue with its place. */
const sentencesOf = (texts: object, path = ""): ReadonlyArray<readonly [string, string]> =>
  Object.entries(texts).flatMap(([key, value]) =>
    typeof value === "string" ? [[`${path}${key}`, value] as const] : sentencesOf(value, `${path}${key}.`)
  )

/** Every page of a flow, as a browser with these headers is shown it. */
const shown = Effect.fnUntraced(function*(headers: Readonly<Record<string, string>>) {
  const pages = new Map<string, Answer>()
  const ada = yield* caller()
  const { cookies } = yield* Http
  const script = yield* Script
  pages.set("gone", yield* send("GET", `/connect/${"A".repeat(43)}`, { headers }))
  yield* ada.post("/v1/flows", { server: "notes" })
  const { connectPath } = script
  const offer = yield* send("GET", connectPath, { headers })
  pages.set("offer", offer)
  pages.set("refused", yield* send("POST", connectPath, { headers, body: "token=x" }))
  yield* leave(offer, connectPath)
  const mine = [...cookies]
  cookies.clear()
  pages.set("taken", yield* send("GET", connectPath, { headers }))
  for (const [name, value] of mine) cookies.set(name, value)
  const landed = yield* send("GET", yield* answerPath, { headers })
  pages.set("done", yield* send("GET", landed.headers.get("location")!, { headers }))
  pages.set("outcome", yield* send("GET", connectPath, { headers }))
  pages.set("unknown", yield* send("GET", `/done/${"A".repeat(43)}`, { headers }))
  pages.set("stray", yield* send("GET", `/callback/${"A".repeat(43)}`, { headers }))
  return pages
})

describe("the languages of the pages", () => {
  it.effect("show every page in the language that the browser asks for, and say which it is", () =>
    Effect.gen(function*() {
      const pages = yield* shown(inGerman)
      for (const [name, { headers, text }] of pages) {
        assert.include(text, "<html lang=\"de\" dir=\"ltr\">", name)
        assert.strictEqual(headers.get("content-language"), "de", name)
      }
      const titles = new Map([...pages].map(([name, { text }]) => [name, /<h1>(.*?)<\/h1>/.exec(text)?.[1]]))
      assert.deepStrictEqual([...titles], [
        ["gone", german.connect.gone],
        ["offer", "notes verbinden"],
        ["refused", german.connect.refused],
        ["taken", german.connect.taken],
        ["done", german.flow.states.completed.title],
        ["outcome", german.flow.states.completed.title],
        ["unknown", german.arrival.unknown],
        ["stray", german.arrival.stray]
      ])
      const offer = pages.get("offer")!.text
      assert.include(offer, "<bdi>ada von acme</bdi> möchte auf Ihr Konto bei <bdi>notes.example</bdi> zugreifen.")
      assert.include(offer, "Weiter zu <bdi>as.example</bdi></button>")
    }).pipe(Effect.provide(layer())))

  it.effect("are English for whoever asks for another one, or for none", () =>
    Effect.gen(function*() {
      for (const headers of [{}, { "accept-language": "fr" }, { "accept-language": "\"><script>" }]) {
        const { headers: answered, text } = yield* send("GET", `/done/${"A".repeat(43)}`, { headers })
        assert.include(text, "<html lang=\"en\" dir=\"ltr\">")
        assert.include(text, english.arrival.unknownText)
        assert.strictEqual(answered.get("content-language"), "en")
      }
    }).pipe(Effect.provide(layer())))

  it.effect("are those that an application provides, also those of a loopback listener", () =>
    Effect.gen(function*() {
      const hebrew: PageTexts = {
        ...english,
        flow: { ...english.flow, language: "he", direction: "rtl" },
        arrival: { ...english.arrival, unknownText: "<b>ours</b>" }
      }
      const ours = Languages.layer(german, hebrew)
      yield* Effect.gen(function*() {
        const asked = yield* send("GET", `/done/${"A".repeat(43)}`, { headers: { "accept-language": "he-IL" } })
        assert.include(asked.text, "<html lang=\"he\" dir=\"rtl\">")
        assert.include(asked.text, "&lt;b&gt;ours&lt;/b&gt;")
        const first = yield* send("GET", `/done/${"A".repeat(43)}`, { headers: { "accept-language": "en" } })
        assert.include(first.text, "<html lang=\"de\"")
      }).pipe(Effect.provide(layer().pipe(Layer.provide(ours))))
      const loopback = yield* Effect.provide(FlowLanguages, ours)
      assert.deepStrictEqual(loopback, [german.flow, hebrew.flow])
    }))

  it.effect("say which text of a translation has other braces than the English one, and are not built", () =>
    Effect.gen(function*() {
      const wrong: PageTexts = { ...german, connect: { ...german.connect, title: "{sever} verbinden", back: "{x}" } }
      assert.deepStrictEqual(misplaced(wrong), ["connect.title", "connect.back"])
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Languages.layer(english, wrong))))
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.match(Cause.pretty(exit.cause), /de: connect\.title,de: connect\.back/)
    }))

  it("have every sentence in German, with the same braces, and none left in English", () => {
    assert.deepStrictEqual(misplaced(german), [])
    const [ours, theirs] = [sentencesOf(english), new Map(sentencesOf(german))]
    assert.deepStrictEqual([...theirs.keys()].toSorted(), ours.map(([path]) => path).toSorted())
    const same = ours.filter(([path, sentence]) => theirs.get(path) === sentence).map(([path]) => path)
    assert.deepStrictEqual(same, ["flow.direction"])
    for (const texts of [english, german]) {
      assert.sameMembers(Object.keys(texts.flow.failures), [...FlowFailure.literals])
      assert.sameMembers([...Object.keys(texts.flow.states), "failed"], [...FlowState.literals])
    }
  })
})
