-- Names of failed logins stood here readable. They count for 15 minutes only: who guesses begins anew.
delete from "login_failures";
