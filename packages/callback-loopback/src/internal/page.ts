import { backOf, type Flow } from "@valetkey/domain/Flow"
import { type FlowOutcome, outcomeOf } from "@valetkey/domain/FlowOutcome"
import type { FlowTexts } from "@valetkey/domain/FlowTexts"
import { Redacted } from "effect"
import { hash } from "node:crypto"

/** A page as it goes out: fixed text, nothing of the request. */
export interface Page {
  readonly status: number
  readonly html: string
  readonly headers?: Readonly<Record<string, string>>
}

const style = [
  "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto 0;padding:0 1.5rem;color:#1b1f24}",
  "h1{font-size:1.5rem;margin:0 0 .5rem}",
  "@media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e8eb}}"
].join("")

/** Headers of every answer: no script, no other origin, no copy, no trace. */
export const headers: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
    `style-src 'sha256-${hash("sha256", style, "base64")}'`,
  "content-type": "text/html; charset=utf-8",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY"
}

/** A request that is not the authorization response this listener waits for. */
export const rejected = (texts: FlowTexts, status: number): Page => page(texts, status, texts.stray)

/** A response that arrived, while what became of it cannot be told. */
export const untold = (texts: FlowTexts): Page => page(texts, 500, texts.untold)

/** The way back to the application that has to confirm. */
export const onward = (url: Redacted.Redacted): Page => ({
  status: 303,
  html: "",
  headers: { location: Redacted.value(url) }
})

/** How the flow ended, and the way back to where the person began. */
export const settled = (texts: FlowTexts, flow: Flow): Page => page(texts, 200, outcomeOf(flow, texts), backOf(flow))

function page(texts: FlowTexts, status: number, { sentence, title }: FlowOutcome, back?: string): Page {
  const { direction, language } = texts
  const link = back === undefined ? "" : `<p><a href="${escape(back)}">${escape(texts.back)}</a></p>`
  return {
    status,
    headers: { "content-language": language },
    html: `<!doctype html><html lang="${escape(language)}" dir="${direction}"><head><meta charset="utf-8">` +
      `<title>${escape(title)} · Valetkey</title>` +
      `<meta name="viewport" content="width=device-width"><style>${style}</style></head>` +
      `<body><main><h1>${escape(title)}</h1><p>${escape(sentence)}</p>${link}</main></body></html>`
  }
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? "")
}
