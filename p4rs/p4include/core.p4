// The P4-16 core library: what every architecture may rely on (P4-16 language specification 1.2.5, appendix D).

// Programs test this name to see whether the file is included.
#ifndef _CORE_P4_
#define _CORE_P4_

// Causes for a parser to stop. Programs and architectures add their own.
error {
    NoError,
    PacketTooShort,         // extract, lookahead or advance past the end of the packet
    NoMatch,                // no case of a select expression matches
    StackOutOfBounds,       // header stack index past its end
    HeaderTooShort,         // a varbit field gets more bits than it can hold
    ParserTimeout,          // the target's limit on parsing time is exceeded
    ParserInvalidArgument   // an argument of a packet_in method is not supported
}

// The packet as the parser sees it.
extern packet_in {
    // Reads a header of fixed size and moves on.
    void extract<T>(out T hdr);
    // Reads a header whose one varbit field gets the given number of bits.
    void extract<T>(out T variableSizeHeader, in bit<32> variableFieldSizeInBits);
    // Reads without moving on.
    T lookahead<T>();
    // Skips bits.
    void advance(in bit<32> sizeInBits);
    // The packet's length in bytes; not every target knows it.
    bit<32> length();
}

// The packet as the deparser builds it.
extern packet_out {
    // Appends a header if it is valid; the members in turn of stacks, unions and structs.
    void emit<T>(in T hdr);
}

// Stops the parser with an error unless the condition holds.
extern void verify(in bool check, in error toSignal);

// Does nothing; the default action of tables that name none.
@noWarn("unused")
action NoAction() {}

match_kind {
    exact,      // equal
    ternary,    // equal where the mask has ones
    lpm         // equal in the leading bits; the longest prefix wins
}

// Conditions that must hold when the program is compiled.
extern bool static_assert(bool check, string message);
extern bool static_assert(bool check);

#endif
