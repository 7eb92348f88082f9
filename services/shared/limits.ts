// SPDX-License-Identifier: Apache-2.0
// Limits that several modules share. A house test compares those that C++ declares too.

/** The rules of the fence follow the headers in front of UDP this far. The engine sends no packet that exceeds it. */
export const fenceReach = {
  /** Octets of the IP header and its extension headers. */
  headerOctets: 240,
  /** Number of IPv6 extension headers. */
  extensionHeaders: 3,
} as const;

/** The lowest sampling rate is one of 2^16 packets. */
export const highestSamplingLog2 = 16;

/** Octets of a sampled packet that are copied. */
export const snapBytes = { least: 64, most: 1024 } as const;

/** Samples in one message at most. */
export const samplesPerBatch = 256;

/** Live receive SPIs of one flow; a further one evicts the oldest. */
export const spisPerFlow = 8;

/** Flows in one answer to a query at most. */
export const flowsPerPage = 1000;

/** The most tunnels in one request of the peer protocol; a larger one is refused as a whole. */
export const maxTunnelsPerRequest = 1024;
