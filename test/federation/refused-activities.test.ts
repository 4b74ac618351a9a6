// time limit: 120 s
import { testRefusedActivities } from "./refused-activities.ts";

testRefusedActivities("draft-cavage");
