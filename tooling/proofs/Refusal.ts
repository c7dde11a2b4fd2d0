import { assert } from "@effect/vitest"
import type { Finished } from "../demo/Command.ts"
import type { Answer } from "./Api.ts"

/** The words in which a sentence says what to do next. */
const advice =
  /\b(add|allow|ask|check|choose|connect|expected|fix|free|give|lists|is it running|must|needs|open|register|restore|retry|run|see|send|set|start|stop|try|use)\b/i

const checkSentence = (sentence: string): void => {
  assert.match(sentence, advice)
  // What a stack, an object or somebody else's page would leave behind.
  assert.notMatch(sentence, /\n\s+at |\[object|<\/?[a-z]+>|undefined|file:\/\//)
  assert.isBelow(sentence.length, 400)
}

/** The command failed with this code: one JSON document, its exit code, and a sentence that says what to do next. */
export const command = (finished: Finished, expected: { readonly code: string; readonly exit: number }): void => {
  const shown = `${finished.args.join(" ")}: ${finished.stdout}${finished.stderr}`
  assert.match(finished.stdout, /^\{.*\}\n$/, shown)
  const { error, ok } = JSON.parse(finished.stdout) as {
    readonly ok: boolean
    readonly error?: { readonly code: string; readonly message: string }
  }
  assert.isFalse(ok, shown)
  assert.strictEqual(error?.code, expected.code, shown)
  assert.strictEqual(finished.code, expected.exit, shown)
  checkSentence(error?.message ?? "")
}

/** The API refused with this code: a problem document with its status, and a sentence that says what to do next. */
export const api = (answer: Answer, expected: { readonly code: string; readonly status: number }): void => {
  assert.strictEqual(answer.json["code"], expected.code, answer.text)
  assert.strictEqual(answer.status, expected.status, answer.text)
  assert.strictEqual(answer.json["status"], expected.status)
  assert.match(answer.headers.get("content-type") ?? "", /^application\/problem\+json/)
  if (expected.status === 401) assert.isNotNull(answer.headers.get("www-authenticate"))
  checkSentence(String(answer.json["detail"]))
}
