// SPDX-License-Identifier: Apache-2.0
// Searches octets for keys in every form in which software prints or stores them. A form begins with the key's first
// block, which is also what an expanded AES key begins with, so a part of a key is found, too; a second block is
// searched for by itself.
const block = 16;

/** One block of a key, in the forms of text and memory. */
export function formsOf(octets: Buffer): Map<string, Buffer> {
  const hex = octets.toString('hex');
  const pairs = hex.match(/../g) ?? [];
  const numbers = [...octets];
  const texts = new Map([
    ['hex', hex],
    ['upper-case hex', hex.toUpperCase()],
    ['hex with spaces', pairs.join(' ')],
    ['hex with colons', pairs.join(':')],
    ['numbers', numbers.join(',')],
    ['numbers with spaces', numbers.join(', ')],
    ['numbers by index', numbers.map((number, i) => `"${i}":${number}`).join(',')],
    ['escaped octets', pairs.map((pair) => `\\x${pair}`).join('')],
  ]);
  const forms = new Map([['octets', octets]]);
  for (const [name, text] of texts) forms.set(name, Buffer.from(text));
  forms.set('octets as UTF-8', Buffer.from(octets.toString('latin1')));
  // The characters that only octets of the block decide, where 0, 1 or 2 octets precede it in a group of three.
  for (const before of [0, 1, 2]) {
    const whole = Buffer.concat([Buffer.alloc(before), octets]);
    const from = [0, 2, 3][before];
    const to = Math.floor((whole.length * 8) / 6);
    forms.set(`base64 after ${before}`, Buffer.from(whole.toString('base64').slice(from, to)));
    forms.set(`base64url after ${before}`, Buffer.from(whole.toString('base64url').slice(from, to)));
  }
  return forms;
}

interface Pattern {
  what: string;
  octets: Buffer;
}

export class KeySearch {
  /** By their first four octets. */
  readonly #patterns = new Map<number, Pattern[]>();
  /** Whether a pattern has these octets at 0 and 1, and at 2 and 3: digits and separators are frequent. */
  readonly #first = new Uint8Array(0x10000);
  readonly #second = new Uint8Array(0x10000);

  /** @param keys by a name, which a finding repeats. */
  constructor(keys: ReadonlyMap<string, Buffer>) {
    for (const [name, key] of keys) {
      for (let at = 0; at < key.length; at += block) {
        for (const [form, octets] of formsOf(key.subarray(at, at + block))) {
          const begin = octets.readUInt32LE();
          this.#first[begin & 0xffff] = 1;
          this.#second[begin >>> 16] = 1;
          const what = `${name}, octets from ${at} on, as ${form}`;
          this.#patterns.set(begin, [...(this.#patterns.get(begin) ?? []), { what, octets }]);
        }
      }
    }
  }

  /** What was found, each once. */
  find(octets: Buffer): string[] {
    const found = new Set<string>();
    const [first, second] = [this.#first, this.#second];
    for (let at = 0, end = octets.length - 3; at < end; at++) {
      if (first[(octets[at] as number) | ((octets[at + 1] as number) << 8)] === 0) continue;
      if (second[(octets[at + 2] as number) | ((octets[at + 3] as number) << 8)] === 0) continue;
      for (const pattern of this.#patterns.get(octets.readUInt32LE(at)) ?? []) {
        if (octets.subarray(at, at + pattern.octets.length).equals(pattern.octets)) found.add(pattern.what);
      }
    }
    return [...found];
  }
}
