import { FlowLanguages, inLanguageOf } from "@valetkey/domain/FlowTexts"
import { Context, Effect, Layer } from "effect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import { english } from "./internal/english.ts"
import { german } from "./internal/german.ts"
import { misplaced, type PageTexts } from "./PageTexts.ts"

/** The languages of the pages; the first is for whoever asks for none of them. Default English and German. */
export const Languages = Context.Reference<readonly [PageTexts, ...ReadonlyArray<PageTexts>]>(
  "@valetkey/http/Languages",
  { defaultValue: () => builtIn }
)

/** English and German. Spread one of them to change a sentence, or to begin another language. */
export const builtIn: readonly [english: PageTexts, german: PageTexts] = [english, german]

/**
 * Layer that puts languages in place of the built-in ones, for the pages of this package and of a loopback listener that is
 * built over it. Dies when a text has other braces than the English one, and names it.
 */
export const layer = (...languages: readonly [PageTexts, ...ReadonlyArray<PageTexts>]): Layer.Layer<never> => {
  const faults = languages.flatMap((texts) => misplaced(texts).map((path) => `${texts.flow.language}: ${path}`))
  const [first, ...others] = languages
  return faults.length > 0
    ? Layer.effectDiscard(Effect.die(new Error(`These texts of pages have other braces than English: ${faults}`)))
    : Layer.mergeAll(
      Layer.succeed(Languages, languages),
      Layer.succeed(FlowLanguages, [first.flow, ...others.map(({ flow }) => flow)])
    )
}

/** The texts in the language that the browser of a request asks for. */
export const of = (
  request: HttpServerRequest.HttpServerRequest,
  [first, ...others]: readonly [PageTexts, ...ReadonlyArray<PageTexts>]
): PageTexts => {
  const flow = inLanguageOf(request.headers["accept-language"], [first.flow, ...others.map(({ flow }) => flow)])
  return others.find((texts) => texts.flow === flow) ?? first
}
