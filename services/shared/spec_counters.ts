// SPDX-License-Identifier: Apache-2.0
// The counters that the PSP architecture specification requires, with Linux's names (`rx-packets`, ...). `counter` is
// the name in the reports of the dataplane. Octets are counted from the end of the IV to the end of the payload, that
// is, without the first 16 octets of the PSP header and without the ICV.

export interface SpecCounter {
  /** In the dataplane's counters. */
  counter: string;
  /** Linux's name (Documentation/netlink/specs/psp.yaml). */
  linux: string;
  help: string;
}

export const specCounters: readonly SpecCounter[] = [
  { counter: 'rxPackets', linux: 'rx-packets', help: 'Packets received and authenticated.' },
  {
    counter: 'rxBytes',
    linux: 'rx-bytes',
    help: 'Octets of packets received and authenticated, after the IV and without the ICV.',
  },
  { counter: 'rxAuthFail', linux: 'rx-auth-fail', help: 'Packets received whose authentication failed.' },
  { counter: 'rxError', linux: 'rx-error', help: 'Packets received with a length or framing error.' },
  {
    counter: 'rxBad',
    linux: 'rx-bad',
    help: 'Packets received of an unknown version or under no valid master key.',
  },
  { counter: 'txPackets', linux: 'tx-packets', help: 'Packets sealed and sent.' },
  {
    counter: 'txBytes',
    linux: 'tx-bytes',
    help: 'Octets of packets sealed and sent, after the IV and without the ICV.',
  },
  { counter: 'txError', linux: 'tx-error', help: 'Packets that could not be sealed.' },
  { counter: 'keyRotations', linux: 'key-rotations', help: 'Rotations of the master key.' },
  {
    counter: 'staleEvents',
    linux: 'stale-events',
    help: 'Flows that a rotation cut, because their peer still used the wiped key.',
  },
];
