// SPDX-License-Identifier: Apache-2.0
// Two kinds of plots as SVG text: bars in groups, with their noise and the mark of their goal, and rows of shares of
// a whole. They are readable on a light and a dark background, contain their title and description, and are the same
// for the same input.

export interface Bar {
  label: string;
  value: number;
  noisePercent?: number;
  /** Drawn in the colour of this gateway. */
  ours?: boolean;
  /** The goal. */
  reaches?: number[];
}
export interface Group {
  name: string;
  bars: Bar[];
}
export interface Stack {
  name: string;
  parts: { part: string; percent: number }[];
}

const width = 760;
const left = 200;
const right = 96;
const line = 19;

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
const at = (value: number) => Number(value.toFixed(1));
const digits = (value: number) => Number(value.toPrecision(3)).toLocaleString('en');

const style = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 } .group { font-weight: 600 } .end { text-anchor: end }
  .middle { text-anchor: middle } .inside { fill: #ffffff; font-size: 11px; text-anchor: middle }
  .ours { fill: #1f6feb } .other { fill: #8b949e } .grid { stroke: #d0d7de } .noise { stroke: #1f2328 }
  .reach { stroke: #cf222e; stroke-width: 3 } .reach-text { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .grid { stroke: #30363d } .noise { stroke: #e6edf3 }
    .reach { stroke: #ff7b72 } .reach-text { fill: #ff7b72 } .inside { fill: #ffffff }
  }`;

function svg(title: string, description: string, height: number, body: string[]): string {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="t d">`,
    `<title id="t">${escaped(title)}</title>`,
    `<desc id="d">${escaped(description)}</desc>`,
    `<style>${style}\n</style>`,
    text(8, 20, title, 'title'),
    ...body,
    '</svg>',
  ].join('\n')}\n`;
}

const empty = (title: string) => svg(title, 'Not measured.', 56, [text(8, 44, 'not measured')]);
const text = (x: number, y: number, words: string, name = '') =>
  `<text x="${at(x)}" y="${at(y)}"${name === '' ? '' : ` class="${name}"`}>${escaped(words)}</text>`;
const upright = (x: number, from: number, to: number, name: string) =>
  `<line x1="${at(x)}" x2="${at(x)}" y1="${at(from)}" y2="${at(to)}" class="${name}"/>`;

/** A round step that divides the largest value into four to ten parts. */
function stepFor(largest: number): number {
  const power = 10 ** Math.floor(Math.log10(largest / 4));
  return power * ([5, 2, 1].find((factor) => largest / (factor * power) >= 4) ?? 1);
}

/** Bars from left to right, one line each. A bar longer than `most` runs out of the plot. */
export function bars(title: string, unit: string, groups: readonly Group[], most = Infinity): string {
  const all = groups.flatMap((group) => group.bars);
  if (all.length === 0) return empty(title);
  const ends = all.flatMap(({ value, noisePercent = 0, reaches = [] }) => [
    // A very noisy bar does not make all others small: its noise runs out of the plot.
    value * (1 + Math.min(noisePercent, 30) / 100),
    ...reaches,
  ]);
  const largest = Math.min(most, Math.max(...ends));
  const step = stepFor(largest);
  const x = (value: number) => left + ((width - left - right) * Math.min(value, largest)) / largest;
  const body: string[] = [];
  let y = 58;
  for (const { name, bars: own } of groups) {
    body.push(text(8, y + 13, name, 'group'));
    y += line;
    for (const { label, value, noisePercent = 0, ours = false, reaches = [] } of own) {
      const spread = (value * noisePercent) / 100;
      // After its noise, or after a mark at that position.
      const beside = [value + spread, ...reaches].reduce((far, one) =>
        x(one) > x(far) && x(one) < x(far) + 48 ? one : far,
      );
      body.push(
        text(left - 8, y + 13, label, 'end'),
        `<rect x="${left}" y="${y + 2}" width="${at(x(value) - left)}" height="${line - 5}" class="${ours ? 'ours' : 'other'}"/>`,
        `<line x1="${at(x(Math.max(0, value - spread)))}" x2="${at(x(value + spread))}" y1="${y + line / 2}" y2="${y + line / 2}" class="noise"/>`,
        ...reaches.map((one) => upright(x(one), y, y + line - 1, 'reach')),
        text(x(beside) + 6, y + 13, digits(value)),
      );
      y += line;
    }
    y += 6;
  }
  const grid = Array.from({ length: Math.floor(largest / step) + 1 }, (_, i) => i * step).flatMap((value) => [
    upright(x(value), 52, y, 'grid'),
    text(x(value), 48, digits(value), 'middle'),
  ]);
  const marked = all.some(({ reaches = [] }) => reaches.length > 0);
  const legend = [text(8, 48, unit), ...(marked ? [text(8, 34, '| to reach', 'reach-text')] : [])];
  const described = groups.map(
    (group) =>
      `${group.name}: ${group.bars.map(({ label, value }) => `${label} ${digits(value)}`).join(', ')}`,
  );
  return svg(title, `${unit}. ${described.join('; ')}.`, y + 4, [...legend, ...grid, ...body]);
}

const palette = [
  ['#1f6feb', '#8250df', '#1a7f37', '#9a6700', '#bf3989', '#0e7490', '#bc4c00', '#57606a'],
  ['#4d5fb0', '#6639ba', '#4d7c0f', '#a16207', '#9f1239', '#115e59', '#7c2d12', '#334155'],
].flat();

/** Shares of a whole, one line each. A part has the same colour in all lines. */
export function shares(title: string, stacks: readonly Stack[]): string {
  if (stacks.length === 0) return empty(title);
  const names = [...new Set(stacks.flatMap(({ parts }) => parts.map(({ part }) => part)))];
  const colour = (part: string) => palette[names.indexOf(part) % palette.length] as string;
  const from = 250;
  const wide = width - from - 16;
  const high = line + 6;
  const rows = stacks.flatMap(({ name, parts }, i) => {
    const y = 36 + i * high;
    let x = from;
    return [
      text(from - 8, y + 15, name, 'end'),
      ...parts.flatMap(({ part, percent }) => {
        const long = (wide * percent) / 100;
        const start = x;
        x += long;
        const fits = long > part.length * 6 + 6;
        return [
          `<rect x="${at(start)}" y="${y}" width="${at(long)}" height="${high - 4}" fill="${colour(part)}"><title>${escaped(part)} ${percent} %</title></rect>`,
          upright(start, y, y + high - 4, 'grid'),
          ...(fits ? [text(start + long / 2, y + 15, part, 'inside')] : []),
        ];
      }),
    ];
  });
  const below = 46 + stacks.length * high;
  const legend = names.flatMap((part, i) => {
    const [x, y] = [8 + (i % 4) * 188, below + Math.floor(i / 4) * line];
    return [
      `<rect x="${x}" y="${y}" width="12" height="12" fill="${colour(part)}"/>`,
      text(x + 18, y + 11, part),
    ];
  });
  const described = stacks.map(
    ({ name, parts }) => `${name}: ${parts.map(({ part, percent }) => `${part} ${percent} %`).join(', ')}`,
  );
  const height = below + Math.ceil(names.length / 4) * line + 4;
  return svg(title, `${described.join('; ')}.`, height, [...rows, ...legend]);
}
