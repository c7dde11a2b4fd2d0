import type * as FlowTexts from "@valetkey/domain/FlowTexts"
import { english } from "./internal/english.ts"

/** Text with the same words missing: what stands in braces is put in by the page. */
type Translated<Texts> = { readonly [Key in keyof Texts]: Texts[Key] extends string ? string : Translated<Texts[Key]> }

/**
 * Every sentence of the pages in one language. It is complete by type against English, and holds text and never markup: a
 * page escapes it. What stands in braces, such as `{server}`, is put in; a translation has the same ones as English.
 */
export interface PageTexts extends Translated<typeof english> {
  readonly flow: FlowTexts.FlowTexts
}

/** Where a translation has other braces than English; empty when it has the same ones. */
export const misplaced = (texts: PageTexts): ReadonlyArray<string> => compare("", english, texts)

const compare = (path: string, original: object, translation: object): ReadonlyArray<string> =>
  Object.entries(original).flatMap(([key, value]) => {
    const here = path === "" ? key : `${path}.${key}`
    const other: unknown = Reflect.get(translation, key)
    if (typeof value === "object") return compare(here, value, typeof other === "object" && other !== null ? other : {})
    return typeof other === "string" && slotsOf(value).join() === slotsOf(other).join() ? [] : [here]
  })

const slotsOf = (text: string): ReadonlyArray<string> =>
  [...new Set([...text.matchAll(slot)].map(([, name]) => name!))].sort()

/** What a page puts in. */
export const slot = /\{(\w+)\}/g
