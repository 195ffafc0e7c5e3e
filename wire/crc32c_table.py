# SPDX-License-Identifier: Apache-2.0
"""Writes the constants of wire/crc32c.c to the file named on the command line: eight tables for
slicing, and for each stream length the factor that moves a CRC past that many bytes."""
import sys

POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reflected: bit 31 is x^0
STREAM_SIZES = (4096, 256)


def times_x(value):
    return (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)


def power_of_x(exponent):
    value = 1 << 31
    for _ in range(exponent):
        value = times_x(value)
    return value


def tables():
    first = []
    for value in range(256):
        for _ in range(8):
            value = times_x(value)
        first.append(value)
    result = [first]
    for _ in range(7):
        last = result[-1]
        result.append([(value >> 8) ^ first[value & 0xFF] for value in last])
    return result


with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write("/* Written by wire/crc32c_table.py. */\n")
    out.write("static const uint32_t crc_tables[8][256] = {\n")
    for table in tables():
        out.write("    {\n")
        for start in range(0, 256, 8):
            row = ", ".join(f"0x{value:08x}" for value in table[start : start + 8])
            out.write(f"        {row},\n")
        out.write("    },\n")
    out.write("};\n")
    # A product of two reflected 32-bit factors, fed to the CRC instruction as 64 bits, comes out
    # multiplied by x^33: hence the 33 less.
    for size in STREAM_SIZES:
        out.write(f"#define CRC_SHIFT_{size} 0x{power_of_x(8 * size - 33):08x}\n")
        out.write(f"#define CRC_SHIFT_{2 * size} 0x{power_of_x(16 * size - 33):08x}\n")
