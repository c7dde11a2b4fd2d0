/** Whether two texts are equal, in a time that tells nothing of where they differ. */
export const equalInConstantTime = (left: string, right: string): boolean => {
  let difference = left.length ^ right.length
  for (let index = 0; index < left.length; index++) difference |= left.charCodeAt(index) ^ right.charCodeAt(index)
  return difference === 0
}
