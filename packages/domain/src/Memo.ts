/**
 * Makes a function remember what it gave for a text. It must give the same for the same text every time. No more than
 * `capacity` texts are remembered; beyond that it begins anew. What it throws is not remembered.
 */
export const make = <A>(of: (text: string) => A, capacity = 1024): (text: string) => A => {
  const known = new Map<string, { readonly value: A }>()
  return (text) => {
    const found = known.get(text)
    if (found !== undefined) return found.value
    const value = of(text)
    if (known.size >= capacity) known.clear()
    known.set(text, { value })
    return value
  }
}
