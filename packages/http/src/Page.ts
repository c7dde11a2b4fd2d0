import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { hash } from "node:crypto"
import { english } from "./internal/english.ts"
import { type PageTexts, slot } from "./PageTexts.ts"

const style = [
  ":root{color-scheme:light dark}",
  "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:12vh auto 4rem;padding:0 1.5rem}",
  "h1{font-size:1.5rem;margin:0 0 .5rem}",
  "code{font:14px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}",
  "section{border-top:1px solid #8884;padding:.75rem 0}h2{font-size:1rem;margin:0}p{margin:.25rem 0}",
  "li{margin:.25rem 0}small{display:block}dl{margin:1.5rem 0}dt{font-weight:600;margin-top:.75rem}dd{margin:0;overflow-wrap:anywhere}",
  "strong{font:600 1.5rem/1.5 ui-monospace,monospace;letter-spacing:.1em;display:block}",
  "button{font:inherit;padding:.5rem 1.25rem;margin-top:1.5rem}"
].join("")

const policy = (formAction: string): string =>
  `default-src 'none'; base-uri 'none'; form-action ${formAction}; frame-ancestors 'none'; object-src 'none'; ` +
  `style-src 'sha256-${hash("sha256", style, "base64")}'`

/** Headers of every page: no script, no frame, no other origin, no copy, no trace. */
export const headers: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy": policy("'none'"),
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY"
}

/**
 * Headers of a page with a form: it goes to this origin alone. A browser that may not tell the address of the page does
 * not tell its origin either, so the address stays within this origin in place of nowhere.
 */
export const formHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": policy("'self'"),
  "referrer-policy": "same-origin"
}

/** What a page has besides its title and its body. */
export interface PageOptions {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** In whose language it is written. Default English. */
  readonly texts?: PageTexts
}

/** A page of a title and sections of markup that is already escaped. */
export const page = (title: string, body: string, options: PageOptions = {}): HttpServerResponse.HttpServerResponse => {
  const { direction, language } = (options.texts ?? english).flow
  return HttpServerResponse.text(
    `<!doctype html><html lang="${escape(language)}" dir="${escape(direction)}"><head><meta charset="utf-8">` +
      `<title>${escape(title)} · Valetkey</title>` +
      `<meta name="viewport" content="width=device-width"><style>${style}</style></head>` +
      `<body><main><h1>${escape(title)}</h1>${body}</main></body></html>`,
    {
      status: options.status ?? 200,
      contentType: "text/html; charset=utf-8",
      headers: { ...headers, "content-language": language, ...options.headers }
    }
  )
}

/** A page of one sentence. */
export const sentence = (title: string, text: string, options?: PageOptions): HttpServerResponse.HttpServerResponse =>
  page(title, `<p>${escape(text)}</p>`, options)

/** A text with something put in where its braces are, as it stands in markup. What is put in is markup already. */
export const fill = (text: string, parts: Readonly<Record<string, string>>): string =>
  escape(text).replace(slot, (_, name: string) => parts[name] ?? "")

/** The same as plain text, where there is no markup. */
export const fillPlain = (text: string, parts: Readonly<Record<string, string>>): string =>
  text.replace(slot, (_, name: string) => parts[name] ?? "")

/** Text as it stands in markup. */
export const escape = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? "")

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}
