// SPDX-License-Identifier: Apache-2.0
// The cost of the first packet of a tunnel. Two nodes run in namespaces. For each of many fresh address pairs it
// measures the round trip of the packet that misses, and that of the next packet, which takes the fast path. Both are
// compared with the bare hop: a ping between the gateways' out-of-band interfaces.
import { Topology } from '../test/e2e/topology.js';
import { ping } from '../test/e2e/traffic.js';
import { figure, median, row } from './shared/figure.js';
import { optionsOf, report } from './shared/result.js';

const rounds = 5;
/** Per round. */
const pairs = 8;

const { json } = optionsOf({});
const net = await Topology.create({ outer: 4 });
try {
  await net.start();
  net.addAddresses(rounds * pairs);
  const times = { first: [] as number[], later: [] as number[], hop: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const [first, later]: [number[], number[]] = [[], []];
    for (let pair = round * pairs; pair < (round + 1) * pairs; pair++) {
      const { times: replies, received } = await ping(net.host1.namespace, `10.2.0.${100 + pair}`, {
        count: 2,
        source: `10.1.0.${100 + pair}`,
      });
      if (received !== 2)
        throw new Error(`pair ${pair}: ${received} of 2 replies; the first packet must not be lost`);
      first.push(replies.get(1) as number);
      later.push(replies.get(2) as number);
    }
    const { times: hops } = await ping(net.a.namespace, '198.51.100.2', { count: pairs });
    times.first.push(median(first));
    times.later.push(median(later));
    times.hop.push(median([...hops.values()]));
  }
  const [missing, hitting, hop] = [figure(times.first), figure(times.later), figure(times.hop)];
  report(
    {
      bench: 'first_packet',
      unit: 'milliseconds of a round trip',
      against: 'what the row names',
      rows: [
        row({ what: 'first packet, against a later one' }, missing, hitting, { costs: true }),
        row({ what: 'first packet, against a bare hop' }, missing, hop, { costs: true }),
        row({ what: 'later packet, against a bare hop' }, hitting, hop, { costs: true }),
      ],
    },
    json,
  );
} finally {
  await net.close();
}
