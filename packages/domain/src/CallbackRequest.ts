/** The longest request target that a transport reads; what is longer is refused by its length alone. */
export const maxTarget = 32 * 1024

/** Headers in which browsers and scanners say that they only look ahead. */
const headerNames = ["sec-purpose", "purpose", "x-purpose", "x-moz"]

/** Whether a request only looks ahead. It is answered without content, for nobody has decided to send it. */
export const looksAhead = (
  headers: { readonly [name: string]: string | ReadonlyArray<string> | undefined }
): boolean => headerNames.some((name) => /prefetch|prerender|preview/i.test(String(headers[name] ?? "")))
