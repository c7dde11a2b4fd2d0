interface Input {
  readonly name: string
  readonly value: string
  readonly type: string
}

export interface Form {
  readonly method: "GET" | "POST"
  readonly action: URL
  readonly inputs: ReadonlyArray<Input>
  /** Button to press; the first of the form when absent. */
  readonly press?: Input
}

/** Forms of a page, in order. Enough for pages rendered by a server; not a parser of HTML. */
export const forms = (html: string, base: URL): ReadonlyArray<Form> =>
  [...html.matchAll(/<form\b[^>]*>[\s\S]*?<\/form>/gi)].map(([source]) => {
    const open = /^<form\b[^>]*>/i.exec(source)?.[0] ?? ""
    const inputs = [...source.matchAll(/<(input|button)\b[^>]*>/gi)].flatMap(([tag, element]) => {
      const name = attribute(tag, "name") ?? ""
      const type = attribute(tag, "type") ?? (element?.toLowerCase() === "button" ? "submit" : "text")
      return name === "" ? [] : [{ name, value: attribute(tag, "value") ?? "", type: type.toLowerCase() }]
    })
    return {
      method: (attribute(open, "method") ?? "get").toLowerCase() === "post" ? "POST" : "GET",
      action: new URL(attribute(open, "action") || base.href, base),
      inputs
    }
  })

/** The way to refuse that a page offers: a link or a button that says so. */
export const denial = (html: string, base: URL): Form | undefined => {
  const says = /abort|cancel|deny|refuse|reject|decline/i
  for (const [anchor] of html.matchAll(/<a\b[^>]*>[\s\S]*?<\/a>/gi)) {
    const href = attribute(anchor, "href")
    if (href !== undefined && says.test(anchor)) return { method: "GET", action: new URL(href, base), inputs: [] }
  }
  for (const form of forms(html, base)) {
    const press = form.inputs.find((input) => input.type === "submit" && says.test(`${input.name} ${input.value}`))
    if (press !== undefined) return { ...form, press }
    if (says.test(form.action.pathname)) return form
  }
  return undefined
}

/** The request that submitting a form makes. */
export const submission = (
  form: Form,
  answers: Readonly<Record<string, string>>,
  page: URL
): { readonly url: URL; readonly init: RequestInit } => {
  const body = new URLSearchParams()
  const press = form.press ?? form.inputs.find(({ type }) => type === "submit")
  for (const input of form.inputs) {
    if (input.type === "submit" || input.type === "button") {
      if (input === press) body.append(input.name, input.value)
      continue
    }
    const checkable = input.type === "checkbox" || input.type === "radio"
    const typed = input.type === "hidden" ? undefined : answers[input.name]
    body.append(input.name, typed ?? (checkable ? input.value || "on" : input.value))
  }
  if (form.method === "GET") {
    const url = new URL(form.action)
    for (const [name, value] of body) url.searchParams.append(name, value)
    return { url, init: {} }
  }
  return {
    url: form.action,
    init: {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", origin: page.origin, referer: `${page.origin}/` },
      body: body.toString()
    }
  }
}

const attribute = (tag: string, name: string): string | undefined => {
  const found = new RegExp(`\\s${name}\\s*=\\s*(?:"([^"]*)"|'([^']*)'|([^\\s"'>]+))`, "i").exec(tag)
  const value = found?.[1] ?? found?.[2] ?? found?.[3]
  return value
    ?.replaceAll("&quot;", "\"")
    .replaceAll(/&#(?:39|x27);/gi, "'")
    .replaceAll(/&#(?:47|x2f);/gi, "/")
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&")
}
