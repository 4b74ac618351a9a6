// time limit: 120 s
import { testRefusedSyntax } from "./refused-syntax.ts";

testRefusedSyntax("rfc9421");
